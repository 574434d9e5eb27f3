"""Folders of pictures and labels CSV files."""

from __future__ import annotations

import numpy as np
import pytest

from edgewise.data import ImagePreprocessing, InputSpec, open_source
from edgewise.errors import DataError, UsageError

PLAIN = ImagePreprocessing()


def test_folder_classes_are_sorted_sub_folders(tmp_path, draw, rgb_input):
    pixels = {}
    for seed, name in enumerate(["dog/b.png", "dog/a.png", "cat/deep/z.png", "ant/q.png"]):
        pixels[name] = draw(tmp_path / name, seed=seed)
    (tmp_path / "empty").mkdir()
    (tmp_path / "dog" / "notes.txt").write_text("not a picture")
    (tmp_path / "dog" / ".hidden.png").write_text("not a picture")

    source = open_source(tmp_path, inputs=[rgb_input], preprocessing=PLAIN, require_labels=True)

    samples = list(source)
    assert source.class_names == ("ant", "cat", "dog")
    assert [s.name for s in samples] == ["ant/q.png", "cat/deep/z.png", "dog/a.png", "dog/b.png"]
    assert [s.label for s in samples] == [0, 1, 2, 2]
    assert len(source) == 4
    for sample in samples:
        np.testing.assert_array_equal(
            sample.feeds["image"], pixels[sample.name].transpose(2, 0, 1)[None].astype(np.float32)
        )


def test_folder_names_that_are_numbers_are_the_classes(tmp_path, draw, rgb_input):
    for name in ("0", "2", "10"):
        draw(tmp_path / name / "x.png")
    source = open_source(tmp_path, inputs=[rgb_input], preprocessing=PLAIN)
    assert sorted(s.label for s in source) == [0, 2, 10]
    assert [s.label for s in source] == [0, 10, 2]  # order is that of the names
    assert source.class_names == ()


def test_flat_folder_has_no_labels(tmp_path, draw, rgb_input):
    draw(tmp_path / "x.PNG")
    source = open_source(tmp_path, inputs=[rgb_input], preprocessing=PLAIN)
    assert not source.labelled
    assert [s.label for s in source] == [None]
    with pytest.raises(DataError, match=r"labels.*class") as caught:
        open_source(tmp_path, inputs=[rgb_input], preprocessing=PLAIN, require_labels=True)
    assert caught.value.exit_code == 4


def test_pictures_beside_class_folders_are_ambiguous(tmp_path, draw, rgb_input):
    draw(tmp_path / "x.png")
    draw(tmp_path / "cat" / "y.png")
    with pytest.raises(DataError, match=r"'x\.png' has no class"):
        open_source(tmp_path, inputs=[rgb_input], preprocessing=PLAIN)


def test_empty_and_missing_folder(tmp_path, rgb_input):
    with pytest.raises(DataError, match="no picture"):
        open_source(tmp_path, inputs=[rgb_input])
    with pytest.raises(UsageError, match="no such file") as caught:
        open_source("absent", inputs=[rgb_input], base=tmp_path)
    assert caught.value.exit_code == 2


def test_pictures_need_a_single_input(tmp_path, draw, rgb_input):
    draw(tmp_path / "x.png")
    other = InputSpec("mask", ("batch", 3, 8, 8), np.dtype(np.float32))
    with pytest.raises(DataError, match="'image', 'mask'"):
        open_source(tmp_path, inputs=[rgb_input, other], preprocessing=PLAIN)


def test_grayscale_is_converted_and_remarked_once(tmp_path, draw, rgb_input):
    draw(tmp_path / "a.jpg")
    gray = draw(tmp_path / "b.png", mode="L")
    source = open_source(tmp_path, inputs=[rgb_input], preprocessing=PLAIN)
    assert source.findings == []
    for _ in range(2):
        samples = list(source)
    np.testing.assert_array_equal(samples[1].feeds["image"][0], np.stack([gray] * 3))
    (finding,) = source.findings
    assert finding.rule == "data/converted-picture"
    assert finding.severity == "info"
    assert "1 of 2" in finding.message and "b.png" in finding.message


def test_missing_preprocessing_is_a_finding_that_survives(tmp_path, draw, rgb_input):
    draw(tmp_path / "b.png", mode="L")
    source = open_source(tmp_path, inputs=[rgb_input])
    list(source)
    rules = [finding.rule for finding in source.findings]
    assert rules == ["data/raw-pixels", "data/converted-picture"]


@pytest.mark.parametrize("damage", ["truncated", "text"])
def test_corrupt_picture_is_named(tmp_path, draw, rgb_input, damage):
    draw(tmp_path / "a.jpg", size=(64, 64))
    draw(tmp_path / "b.jpg", size=(64, 64))
    whole = (tmp_path / "b.jpg").read_bytes()
    (tmp_path / "b.jpg").write_bytes(whole[: len(whole) // 2] if damage == "truncated" else b"no")
    source = open_source(tmp_path, inputs=[rgb_input], preprocessing=PLAIN)
    with pytest.raises(DataError, match=r"b\.jpg") as caught:
        list(source)
    assert "\n" not in str(caught.value)


def test_csv_with_indices(tmp_path, draw, rgb_input):
    draw(tmp_path / "pics" / "a.png", seed=1)
    draw(tmp_path / "pics" / "b.png", seed=2)
    (tmp_path / "labels.csv").write_text(
        "\ufefffile,class,name,split\npics/b.png,7,shark,eval\npics/a.png,3,ray,calib\n",
        encoding="utf-8",
    )
    source = open_source("labels.csv", inputs=[rgb_input], preprocessing=PLAIN, base=tmp_path)
    assert [(s.name, s.label) for s in source] == [("pics/b.png", 7), ("pics/a.png", 3)]
    selected = open_source(
        "labels.csv#split=eval", inputs=[rgb_input], preprocessing=PLAIN, base=tmp_path
    )
    assert [(s.name, s.label) for s in selected] == [("pics/b.png", 7)]
    assert selected.fingerprint != source.fingerprint


def test_csv_with_names_keeps_numbers_under_selection(tmp_path, draw, rgb_input):
    draw(tmp_path / "a.png")
    (tmp_path / "l.csv").write_text("class,file,part\nzebra,a.png,1\nant,a.png,2\n")
    assert [
        s.label
        for s in open_source("l.csv", inputs=[rgb_input], preprocessing=PLAIN, base=tmp_path)
    ] == [1, 0]
    chosen = open_source("l.csv#part=1", inputs=[rgb_input], preprocessing=PLAIN, base=tmp_path)
    assert [s.label for s in chosen] == [1]
    assert chosen.class_names == ("ant", "zebra")


@pytest.mark.parametrize(
    ("text", "fragment", "message"),
    [
        ("path,class\na.png,1\n", "", "no column 'file'.*path, class"),
        ("file,class\na.png,1\n", "#split=eval", "no column 'split'"),
        ("file,class,split\na.png,1,train\n", "#split=eval", "no row.*train"),
        ("file,class\n", "", "no row"),
        ("file,class\nb.png,1\n", "", r"no file 'b\.png'.*relative"),
        ("file,class\na.png,\n", "", "line 2.*class is empty"),
        ("file,class\na.png,0\na.png,-1\n", "", "class -1 is not an index"),
        ("file,class\na.png,0.5\n", "", r"class 0\.5 is not an index"),
    ],
)
def test_wrong_csv(tmp_path, draw, rgb_input, text, fragment, message):
    draw(tmp_path / "a.png")
    (tmp_path / "l.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        open_source(f"l.csv{fragment}", inputs=[rgb_input], preprocessing=PLAIN, base=tmp_path)


def test_csv_without_classes_serves_calibration_only(tmp_path, draw, rgb_input):
    draw(tmp_path / "a.png")
    (tmp_path / "l.csv").write_text("file\na.png\n")
    source = open_source("l.csv", inputs=[rgb_input], preprocessing=PLAIN, base=tmp_path)
    assert len(source) == 1 and not source.labelled
    with pytest.raises(DataError, match="column 'class'"):
        open_source(
            "l.csv", inputs=[rgb_input], preprocessing=PLAIN, base=tmp_path, require_labels=True
        )


def test_malformed_fragment_and_unknown_kind(tmp_path, rgb_input):
    (tmp_path / "l.csv").write_text("file\n")
    (tmp_path / "l.parquet").write_text("x")
    for spec in ("l.csv#split", "l.parquet"):
        with pytest.raises(UsageError):
            open_source(spec, inputs=[rgb_input], base=tmp_path)


def test_fingerprint_follows_content_and_preprocessing(tmp_path, draw, rgb_input):
    def fingerprint(image: ImagePreprocessing = PLAIN) -> str:
        return open_source(tmp_path, inputs=[rgb_input], preprocessing=image).fingerprint

    draw(tmp_path / "a.png", seed=1)
    first = fingerprint()
    assert first == fingerprint()
    assert first != fingerprint(ImagePreprocessing(mean=(1.0,)))
    draw(tmp_path / "a.png", seed=2)
    assert first != fingerprint()


def test_limit_covers_the_classes(tmp_path, draw, rgb_input):
    for name in ("a", "b", "c"):
        for index in range(5):
            draw(tmp_path / name / f"{index}.png")
    source = open_source(tmp_path, inputs=[rgb_input], preprocessing=PLAIN, limit=3)
    assert sorted(s.label for s in source) == [0, 1, 2]
    assert len(source) == 3
