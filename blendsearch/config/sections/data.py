"""The data set, its parts and the changes of training images."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from blendsearch.config.sections.types import Count, Positive, Section, Text, broken_rule, list_as_tuple

Levels = Annotated[tuple[float, ...], Field(min_length=1), BeforeValidator(list_as_tuple)]
Spreads = Annotated[tuple[Positive, ...], Field(min_length=1), BeforeValidator(list_as_tuple)]


class AugmentationConfig(Section):
    """Random changes of training images: padding in pixels before a random crop, and mirroring."""

    crop_padding: Annotated[int, Field(ge=0)] = 0
    flip: bool = False


class DataConfig(Section):
    """The data set and how many of its training images are set apart for calibration and search.

    mean, std: one number a channel for images in [0, 1]; null takes the data set's own.
    test: how many images to set apart as test part, for sets that come without one.
    limit: use only so many class-balanced training images, for quick trials.
    labels: "predicted" replaces the labels of all images but the test part by what the unpruned network says of them,
    once it stands: criteria, proxies and retraining then see no other.
    relevance_per_class: how many calibration images of each class LRP relevance takes, the dearest of the criteria's
    statistics; null takes all. Everything else takes all calibration images.
    """

    name: Text
    root: Text | None = None
    download: bool = False
    image_size: Count | None = None
    mean: Levels | None = None
    std: Spreads | None = None
    augmentation: AugmentationConfig = AugmentationConfig()
    calibration: Count = 512
    relevance_per_class: Count | None = 10
    search: Count = 1000
    test: Count | None = None
    in_memory: bool | Literal["auto"] = "auto"
    limit: Count | None = None
    labels: Literal["given", "predicted"] = "given"
    workers: Annotated[int, Field(ge=0)] = 2

    @model_validator(mode="after")
    def _mean_and_std_agree(self) -> DataConfig:
        if self.mean and self.std and len(self.mean) != len(self.std):
            raise broken_rule(
                f"mean and std need one number a channel each (given {len(self.mean)} and {len(self.std)})"
            )
        return self
