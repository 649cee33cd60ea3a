"""What happens at the end of an epoch: a line a person can read, one a search can, and a state from which training resumes."""

import datetime
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras

from components.files import atomic_write

BEST_WEIGHTS = "best.weights.h5"


class Progress(keras.callbacks.Callback):
    """Print one line an epoch: losses, accuracy and AUC on the validation part, time taken and at most left."""

    def __init__(self, epochs: int):
        super().__init__()
        self.epochs = epochs

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        logs = logs or {}
        seconds = time.monotonic() - self.started
        print(
            f"train: epoch {epoch + 1:>3} of {self.epochs}  loss {logs['loss']:.4f}  val_loss {logs['val_loss']:.4f}  "
            f"val_accuracy {logs['val_accuracy']:.3f}  val_auc {logs['val_auc']:.3f}  "
            f"{seconds:.0f} s, at most {seconds * (self.epochs - epoch - 1):.0f} s left",
            flush=True,
        )


class MetricsFile(keras.callbacks.Callback):
    """Write every metric of the validation part to a file as soon as it is known, a line each: `<time> val_auc=0.91`.

    That is how Katib's File collector reads them; without the time its early stopping does not know an epoch from the next.

    Args:
        path: the file; one that is there is replaced.
        history: of the epochs before an interruption.
    """

    def __init__(self, path: Path, history: Mapping[str, Sequence[float]]):
        super().__init__()
        self.path = path
        path.write_text("")
        for epoch in range(len(history.get("val_loss", []))):
            self.on_epoch_end(epoch, {name: values[epoch] for name, values in history.items()})

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        values = {name: value for name, value in (logs or {}).items() if name.startswith("val_")}
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(f"{now} {name}={float(value):.6f}\n" for name, value in values.items())


class ResumableCheckpoint(keras.callbacks.Callback):
    """Keep weights, best weights, optimizer, history and the state of other callbacks after every epoch.

    Keras' BackupAndRestore forgets the patience counted so far, the best loss seen and where dropout's random draws stand;
    here they are kept. An epoch's state is a folder `epoch-N`, written whole; it stands for the training named by `identity`
    and for no other.

    Attributes:
        history: one list a logged name, over all epochs, those before an interruption included.
        finished: whether the training that was found had stopped early.
    """

    # Plain numbers that hold what each callback has seen so far.
    STATE = ("best", "wait", "cooldown_counter", "stopped_epoch", "best_epoch")

    def __init__(self, folder: Path, callbacks: Sequence[keras.callbacks.Callback], *, best_weights: Path, identity: str):
        super().__init__()
        self.folder = folder
        self.callbacks = callbacks
        self.best_weights = best_weights
        self.identity = identity
        self.history: dict[str, list[float]] = {}
        self.finished = False
        self._seen_before: list[dict[str, float | None]] = []

    def restore(self, model: keras.Model) -> int:
        """Load the last epoch's state into the compiled model and the callbacks; return the epoch to go on with."""
        epochs = sorted(self.folder.glob("epoch-*"))
        if not epochs:
            return 0
        state = json.loads((epochs[-1] / "state.json").read_text())
        if state["identity"] != self.identity:
            print("train: the checkpoint is of another training (images or hyper-parameters differ): starting anew", flush=True)
            self._delete_checkpoints(epochs)
            return 0
        model.optimizer.build(model.trainable_variables)
        model.load_weights(epochs[-1] / "model.weights.h5")
        if (epochs[-1] / BEST_WEIGHTS).exists():
            shutil.copy(epochs[-1] / BEST_WEIGHTS, self.best_weights)
        for variable, value in zip(_dropout_states(model), state["dropout"], strict=True):
            variable.assign(value)
        self.history, self.finished = state["history"], state["finished"]
        self._seen_before = state["callbacks"]
        print(f"train: resuming after epoch {state['epoch'] + 1}", flush=True)
        return int(state["epoch"]) + 1

    def on_train_begin(self, logs: dict | None = None) -> None:
        for callback, seen in zip(self.callbacks, self._seen_before, strict=False):  # empty in a new training
            vars(callback).update(seen)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        earlier = sorted(self.folder.glob("epoch-*"))
        with atomic_write(self.folder / f"epoch-{epoch:05d}") as partial:
            partial.mkdir()
            self.model.save_weights(partial / "model.weights.h5")
            if self.best_weights.exists():  # not yet where every loss was NaN
                shutil.copy(self.best_weights, partial / BEST_WEIGHTS)
            state = {
                "identity": self.identity,
                "epoch": epoch,
                "finished": bool(self.model.stop_training),
                "history": self.history,
                "dropout": [variable.numpy().tolist() for variable in _dropout_states(self.model)],
                "callbacks": [self._seen(callback) for callback in self.callbacks],
            }
            (partial / "state.json").write_text(json.dumps(state))
        self._delete_checkpoints(earlier)

    def _seen(self, callback: keras.callbacks.Callback) -> dict[str, float | None]:
        values = {name: getattr(callback, name) for name in self.STATE if hasattr(callback, name)}
        return {name: None if value is None else float(value) for name, value in values.items()}

    def _delete_checkpoints(self, epochs: list[Path]) -> None:
        for epoch in epochs:
            shutil.rmtree(epoch)


def _dropout_states(model: keras.Model) -> list[keras.Variable]:
    """The counters of the random draws, which Keras does not save with the weights."""
    return [variable for variable in model.variables if variable.path.endswith("seed_generator_state")]
