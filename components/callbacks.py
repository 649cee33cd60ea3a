"""Callbacks at the end of an epoch: print progress, write metrics for a search, save a state from which training resumes."""

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
    """Print one line per epoch: losses, validation accuracy and AUC, seconds taken and maximum seconds left."""

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
    """Append every validation metric to a file at the end of each epoch, one line each: `<time> val_auc=0.91`.

    Katib's File collector reads this format. Its early stopping needs the time to tell one epoch from the next.

    Args:
        path: The file. An existing one is replaced.
        history: Metrics of the epochs before an interruption.
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
    """Save weights, best weights, optimizer, history and the state of other callbacks after every epoch.

    Keras' BackupAndRestore loses the counted patience, the best loss and the state of dropout's random generators; this class
    saves them too. An epoch's state is a folder `epoch-N`, written atomically. Only a training of the same `identity` resumes
    from it.

    Attributes:
        history: One list per metric over all epochs, those before an interruption included.
        finished: Whether the restored training had stopped early.
    """

    # The attributes of Keras' callbacks that change from epoch to epoch; all are numbers.
    STATE = ("best", "wait", "cooldown_counter", "stopped_epoch", "best_epoch")

    def __init__(self, folder: Path, callbacks: Sequence[keras.callbacks.Callback], *, best_weights: Path, identity: str):
        super().__init__()
        self.folder = folder
        self.callbacks = callbacks
        self.best_weights = best_weights
        self.identity = identity
        self.history: dict[str, list[float]] = {}
        self.finished = False
        self._restored_callback_state: list[dict[str, float | None]] = []

    def restore(self, model: keras.Model) -> int:
        """Load the last epoch's state into the compiled model and the callbacks; return the next epoch, from 0."""
        epochs = sorted(self.folder.glob("epoch-*"))
        if not epochs:
            return 0
        state = json.loads((epochs[-1] / "state.json").read_text())
        if state["identity"] != self.identity:
            print("train: the checkpoint has other images or hyper-parameters: starting from the first epoch", flush=True)
            self._delete_checkpoints(epochs)
            return 0
        model.optimizer.build(model.trainable_variables)
        model.load_weights(epochs[-1] / "model.weights.h5")
        if (epochs[-1] / BEST_WEIGHTS).exists():
            shutil.copy(epochs[-1] / BEST_WEIGHTS, self.best_weights)
        for variable, value in zip(_dropout_states(model), state["dropout"], strict=True):
            variable.assign(value)
        self.history, self.finished = state["history"], state["finished"]
        self._restored_callback_state = state["callbacks"]
        print(f"train: resuming after epoch {state['epoch'] + 1}", flush=True)
        return int(state["epoch"]) + 1

    def on_train_begin(self, logs: dict | None = None) -> None:
        for callback, state in zip(self.callbacks, self._restored_callback_state, strict=False):  # empty in a new training
            vars(callback).update(state)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        earlier = sorted(self.folder.glob("epoch-*"))
        with atomic_write(self.folder / f"epoch-{epoch:05d}") as partial:
            partial.mkdir()
            self.model.save_weights(partial / "model.weights.h5")
            if self.best_weights.exists():  # none yet if every loss was NaN
                shutil.copy(self.best_weights, partial / BEST_WEIGHTS)
            state = {
                "identity": self.identity,
                "epoch": epoch,
                "finished": bool(self.model.stop_training),
                "history": self.history,
                "dropout": [variable.numpy().tolist() for variable in _dropout_states(self.model)],
                "callbacks": [self._callback_state(callback) for callback in self.callbacks],
            }
            (partial / "state.json").write_text(json.dumps(state))
        self._delete_checkpoints(earlier)

    def _callback_state(self, callback: keras.callbacks.Callback) -> dict[str, float | None]:
        values = {name: getattr(callback, name) for name in self.STATE if hasattr(callback, name)}
        return {name: None if value is None else float(value) for name, value in values.items()}

    def _delete_checkpoints(self, epochs: list[Path]) -> None:
        for epoch in epochs:
            shutil.rmtree(epoch)


def _dropout_states(model: keras.Model) -> list[keras.Variable]:
    """Return the states of the random generators, which Keras does not save with the weights."""
    return [variable for variable in model.variables if variable.path.endswith("seed_generator_state")]
