# SPDX-License-Identifier: Apache-2.0
"""What sections of the configuration are made of."""

from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0, le=1)]


class Strict(BaseModel):
    """A section of the configuration: unknown keys and loosely converted values are errors; nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True)


# NumPy refuses to draw from 0.0 to -0.0.
Number = Annotated[float, AfterValidator(lambda value: value + 0.0)]


class Range(Strict):
    """A closed range from which values are drawn evenly."""

    min: Number
    """Lower end."""
    max: Number
    """Upper end."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min {self.min:g} is greater than max {self.max:g}")
        return self

    def check_within(self, lowest: float, highest: float, name: str) -> None:
        """Raises ValueError where the range reaches out of [lowest, highest]."""
        if not lowest <= self.min <= self.max <= highest:
            raise ValueError(f"{name} must be between {lowest:g} and {highest:g}")
