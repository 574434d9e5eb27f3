"""Recordings: PCM of every width, classes of folders, cutting and normalizing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_transformers import save_wave

from edgewise.data import InputSpec, open_source
from edgewise.data.audio import AudioPreprocessing
from edgewise.data.preprocessing import as_dict, from_dict
from edgewise.data.recordings import read_wave
from edgewise.errors import DataError

SPEC = InputSpec("wave", ("batch", 8), np.dtype(np.float32))
PLAIN = AudioPreprocessing(4000, 8)


def opened(folder: Path, audio: AudioPreprocessing = PLAIN, **options):
    return open_source(folder, inputs=[SPEC], preprocessing=audio, **options)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_pcm_of_every_width(tmp_path: Path, width: int) -> None:
    samples = np.array([0, 0.5, -0.5, 0.99, -0.99])
    save_wave(tmp_path / "a.wav", samples, width=width)
    found, rate = read_wave(tmp_path / "a.wav")
    assert (rate, found.shape) == (4000, (5, 1))
    np.testing.assert_allclose(found[:, 0], samples, atol=2 ** (2 - 8 * width) + 1e-7)


def test_recordings_are_cut_and_filled_up_at_their_end(tmp_path: Path) -> None:
    save_wave(tmp_path / "a.wav", np.linspace(-0.5, 0.5, 12))
    save_wave(tmp_path / "b.wav", np.full(3, 0.25))
    source = opened(tmp_path)
    long, short = (sample.feeds["wave"][0] for sample in source)
    np.testing.assert_allclose(long, np.linspace(-0.5, 0.5, 12)[:8], atol=1e-4)
    np.testing.assert_allclose(short, [0.25] * 3 + [0] * 5, atol=1e-4)
    assert not source.labelled


@pytest.mark.slow
def test_normalized_as_the_feature_extractor_of_wav2vec2_does(tmp_path: Path) -> None:
    hf = pytest.importorskip("transformers")
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 6)
    save_wave(tmp_path / "a.wav", samples)
    (found,) = (s.feeds["wave"] for s in opened(tmp_path, AudioPreprocessing(4000, 8, True)))
    extractor = hf.Wav2Vec2FeatureExtractor(sampling_rate=4000, return_attention_mask=True)
    expected = extractor(
        read_wave(tmp_path / "a.wav")[0][:, 0],
        sampling_rate=4000,
        padding="max_length",
        max_length=8,
        return_tensors="np",
    )["input_values"]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_classes_get_the_numbers_of_the_model(tmp_path: Path) -> None:
    for name in ("no", "yes"):
        save_wave(tmp_path / name / "a.wav", np.full(8, 0.1))
    assert [s.label for s in opened(tmp_path)] == [0, 1]
    source = opened(tmp_path, model_labels=("yes", "no"))
    assert [s.label for s in source] == [1, 0]
    assert source.class_names == ("yes", "no")


def test_classes_that_the_model_does_not_know_are_told(tmp_path: Path) -> None:
    for name in ("nein", "ja"):
        save_wave(tmp_path / name / "a.wav", np.full(8, 0.1))
    source = opened(tmp_path, model_labels=("yes", "no"))
    assert [s.label for s in source] == [0, 1]
    assert [f.rule for f in source.findings] == ["data/unknown-classes"]


def test_channels_are_averaged_and_told(tmp_path: Path) -> None:
    save_wave(tmp_path / "a.wav", np.tile([[0.2, 0.4]], (8, 1)))
    source = opened(tmp_path)
    (sample,) = source
    np.testing.assert_allclose(sample.feeds["wave"], np.full((1, 8), 0.3), atol=1e-4)
    assert [f.rule for f in source.findings] == ["data/mixed-channels"]


def test_another_sampling_rate_is_refused(tmp_path: Path) -> None:
    save_wave(tmp_path / "a.wav", np.full(8, 0.1), rate=8000)
    with pytest.raises(DataError, match=r"sampling rate is 8000.*4000 samples.*Resample"):
        list(opened(tmp_path))


@pytest.mark.parametrize("content", [b"", b"RIFF", b"RIFF\x00\x00\x00\x00WAVEfmt "])
def test_a_damaged_recording(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(DataError, match="cannot read this recording"):
        list(opened(tmp_path))


def test_a_recording_without_samples(tmp_path: Path) -> None:
    save_wave(tmp_path / "a.wav", np.zeros(0))
    with pytest.raises(DataError, match="recording is empty"):
        list(opened(tmp_path))


def test_what_a_manifest_says_can_be_read_back() -> None:
    assert from_dict(as_dict(PLAIN), {}) == PLAIN
