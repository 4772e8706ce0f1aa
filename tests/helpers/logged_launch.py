"""launch.py that also logs the records of each batch to $ORDER_LOG.PROCESS, as lines `number id id ...`."""

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    import launch
    from capjax.data.pipeline import TrainIterator

    original, path = TrainIterator.__next__, f"{os.environ['ORDER_LOG']}.{os.environ.get('CAPJAX_PROCESS', '0')}"

    def logged(self):
        number = self.get_state()["next_index"]
        batch = original(self)
        with Path(path).open("a") as file:
            file.write(f"{number} {' '.join(batch['ids'])}\n")
        return batch

    TrainIterator.__next__ = logged
    sys.exit(launch.main())
