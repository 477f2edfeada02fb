"""Splits to train on: read where their pictures lie, and left alone where nobody brought them."""

from vr1bench.prepare import prepare


def test_annotations_without_pictures_are_not_read(coco_folder):
    more = '[splits.train2017]\nannotations = ["train.json"]\nimages = "train2017"\n'
    own = coco_folder / "small.toml"
    own.write_text(own.read_text() + more)
    (coco_folder / "train.json").write_text("not JSON")
    (row,) = prepare([str(own)], coco_folder)
    assert (row.state, row.notes) == ("there already", [])
    (coco_folder / "train2017").mkdir()
    (row,) = prepare([str(own)], coco_folder)
    assert row.state == "there already"
    assert "train2017" in row.notes[0]
