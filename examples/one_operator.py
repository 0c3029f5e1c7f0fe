"""One step alone on an Arrow table: no job, no Ray."""

import pyarrow as pa

from operators import Caption, columns
from operators.images import encode_all
from operators.models.builtin import scenes


def main() -> None:
    shown = [scenes.scene(number, seed=1) for number in range(4)]
    table = pa.table({"image": pa.array(encode_all(scenes.draw(shown)), columns.IMAGE)})
    captioner = Caption().load(batch_rows=4)
    for said, scene in zip(captioner(table)["caption"].to_pylist(), shown, strict=True):
        print(f"{said!r}  (rendered as {scene.caption!r})")


if __name__ == "__main__":
    main()
