import pytest

from brain_tumor.errors import InputError
from components.hyperparameters import TrainConfig


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("head", "attention", "one of flatten, pool"),
        ("dropout", 1.0, "0 up to, but not, 1"),
        ("epochs", 0, "1 or more"),
        ("learning_rate", float("nan"), "above 0"),
        ("threshold", 0.0, "between 0 and 1"),
        ("image_size_px", 8, "32 to 1024"),
    ],
)
def test_value_out_of_range_is_named(field: str, value: float, wanted: str) -> None:
    with pytest.raises(InputError, match=rf"^{field} is {value!r}, wanted {wanted}$"):
        TrainConfig(**{field: value})  # type: ignore[arg-type]
