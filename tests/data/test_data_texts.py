"""Texts of files: columns, labels, pairs and tokens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgewise.data import InputSpec, open_source
from edgewise.data.preprocessing import TextColumns, as_dict, companions, from_dict
from edgewise.data.source import PairHalf
from edgewise.data.text import TextPreprocessing
from edgewise.errors import DataError, UsageError

tokenizers = pytest.importorskip("tokenizers")
WORDS = ["[PAD]", "[UNK]", "a", "b", "c", "d", "|"]
INPUTS = [
    InputSpec(name, ("batch", 5), np.dtype(np.int64))
    for name in ("input_ids", "attention_mask", "token_type_ids")
]


def preprocessing(pairs: str = "together", length: int = 5) -> TextPreprocessing:
    made = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]")
    )
    made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="$A", pair="$A | $B:1", special_tokens=[("|", 6)]
    )
    made.enable_padding(length=length, pad_id=0, pad_token="[PAD]")
    return TextPreprocessing(made.to_str(), length, pairs)


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., list]:
    """The samples of a file with that content."""

    def read(name: str, content: str, fragment: str = "", pairs: str = "together", **options):
        (tmp_path / name).write_text(content, encoding="utf-8")
        source = open_source(
            f"{name}{fragment}",
            inputs=INPUTS,
            preprocessing=preprocessing(pairs),
            base=tmp_path,
            **options,
        )
        samples = list(source)
        assert len(samples) == len(source)
        return samples

    return read


def ids(samples: list) -> list[list[int]]:
    return [sample.feeds["input_ids"][0].tolist() for sample in samples]


def labels(samples: list) -> list:
    return [sample.label for sample in samples]


def test_a_text_is_cut_and_filled_up(opened) -> None:
    samples = opened("t.txt", "a b\n\nc d a b c d x\n")
    assert ids(samples) == [[2, 3, 0, 0, 0], [4, 5, 2, 3, 4]]
    assert samples[0].feeds["attention_mask"].tolist() == [[1, 1, 0, 0, 0]]
    assert samples[0].feeds["attention_mask"].dtype == np.int64
    assert labels(samples) == [None, None]
    assert samples[1].name == "t.txt, line 3"


def test_columns_of_usual_names(opened) -> None:
    samples = opened("t.csv", 'id,text,label\n0,"a, b",1\n1,c,0\n')
    assert (ids(samples)[1], labels(samples)) == ([4, 0, 0, 0, 0], [1, 0])
    samples = opened("t.tsv", 'sentence\tscore\na "b\t0.5\nc\t1\n')
    assert labels(samples) == [0.5, 1.0]
    samples = opened("t.jsonl", '{"text": "a", "label": "x"}\n{"text": "b", "label": "w"}\n')
    assert labels(samples) == [1, 0]


def test_names_of_classes_get_the_numbers_of_the_model(opened) -> None:
    content = "text,label\na,sad\nb,happy\n"
    assert labels(opened("t.csv", content)) == [1, 0]
    assert labels(opened("t.csv", content, model_labels=("sad", "happy", "calm"))) == [0, 1]


def test_numbers_name_the_columns_of_a_file_without_a_header(opened) -> None:
    samples = opened("t.csv", "a,b,5.0\nc,d,2.5\n", columns=TextColumns((1, 2), 3))
    assert ids(samples) == [[2, 6, 3, 0, 0], [4, 6, 5, 0, 0]]
    assert samples[0].feeds["token_type_ids"].tolist() == [[0, 0, 1, 0, 0]]
    assert labels(samples) == [5.0, 2.5]


def test_pairs_that_are_compared_are_two_examples(opened) -> None:
    content = "sentence1,sentence2,score\na,b,5\nc,d,2\na,d,1\n"
    samples = opened("t.csv", content, pairs="apart")
    assert [row[0] for row in ids(samples)] == [2, 3, 4, 5, 2, 5]
    assert labels(samples)[:3] == [PairHalf(0, 5.0), PairHalf(0, 5.0), PairHalf(1, 2.0)]
    halves = labels(opened("t.csv", content, pairs="apart", limit=4))
    assert [half.pair for half in halves] == [0, 0, 2, 2]


def test_rows_are_selected(opened) -> None:
    content = "text,label,split\na,0,calib\nb,1,eval\nc,1,eval\n"
    assert [row[0] for row in ids(opened("t.csv", content, "#split=eval"))] == [3, 4]
    with pytest.raises(DataError, match=r"no row is selected.*split = test"):
        opened("t.csv", content, "#split=test")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "a,b\n1,2\n", "no column of a usual name.*columns are a, b"),
        ("t.csv", "text,label\na,\n", "no label in column 'label'"),
        ("t.csv", "text,label\n ,1\n", "no text in column 'text'"),
        ("t.csv", "text,label\na,1\nb,x\n", "some labels are numbers and others are not.*'x'"),
        ("t.jsonl", "{\n", "cannot read the texts"),
        ("t.jsonl", "[]\n", "no JSON object"),
        ("t.txt", "\n", "no text in this file"),
    ],
)
def test_what_is_wrong_with_a_file(opened, name: str, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        opened(name, content)


def test_a_file_that_is_not_utf_8(opened, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot read the texts"):
        open_source("t.txt", inputs=INPUTS, preprocessing=preprocessing(), base=tmp_path)


def test_texts_need_a_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("a\n")
    with pytest.raises(DataError, match="need the tokenizer of the model"):
        open_source("t.txt", inputs=INPUTS, base=tmp_path)


def test_inputs_that_take_no_tokens(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("a\n")
    spec = InputSpec("image", (1, 3), np.dtype(np.int64))
    with pytest.raises(DataError, match="'image' does not take the tokens"):
        open_source("t.txt", inputs=[spec], preprocessing=preprocessing(), base=tmp_path)


def test_the_fingerprint_knows_text_tokenizer_and_length(tmp_path: Path) -> None:
    def fingerprint(text: str, length: int = 5) -> str:
        (tmp_path / "t.txt").write_text(text)
        made = preprocessing(length=length)
        return open_source("t.txt", inputs=INPUTS, preprocessing=made, base=tmp_path).fingerprint

    assert len({fingerprint("a\n"), fingerprint("b\n"), fingerprint("a\n", 4)}) == 3
    assert fingerprint("a\n") == fingerprint("a\n")


def test_a_shorter_length_is_filled_up_to_that_of_the_model() -> None:
    made = preprocessing(length=3).for_inputs(INPUTS)
    encoding = made.open().encode("a b c d")
    assert encoding.ids == [2, 3, 4, 0, 0]


def test_a_manifest_says_it_and_the_tokenizer_lies_beside() -> None:
    made = preprocessing()
    told, files = as_dict(made), companions(made)
    assert told["kind"] == "text" and told["tokenizer"] == "tokenizer.json"
    assert told["padding"] == {"side": "right", "id": 0, "token": "[PAD]"}
    assert tokenizers.Tokenizer.from_str(files["tokenizer.json"].decode()).encode("a").ids[0] == 2
    assert from_dict(told, files) == made
    with pytest.raises(ValueError, match=r"no tokenizer\.json"):
        from_dict(told, {})


def test_a_length_of_nothing() -> None:
    with pytest.raises(UsageError, match="must be at least 1"):
        preprocessing(length=1).__class__("{}", 0)
