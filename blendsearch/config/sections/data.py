"""The data set, its parts and the changes of training images."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from blendsearch.config.sections.types import Count, Positive, Section, Text, broken_rule, list_as_tuple

Levels = Annotated[tuple[float, ...], Field(min_length=1), BeforeValidator(list_as_tuple)]
Spreads = Annotated[tuple[Positive, ...], Field(min_length=1), BeforeValidator(list_as_tuple)]


class AugmentationConfig(Section):
    """Random changes of training images.

    crop_padding: pixels of padding on each side before a random crop of the old size; 0 for no crop.
    flip: mirror half of the images.
    """

    crop_padding: Annotated[int, Field(ge=0)] = 0
    flip: bool = False


class DataConfig(Section):
    """The data set, and which of its images calibrate, which the search goes by, and which test.

    name: a data set of `blendsearch list datasets`, such as digits or cifar10; `folder` where only root is given.
    root: the folder it lies in, relative to where the command is started; for sets that are no part of a package.
    download: fetch it into root when it is not there, for those of torchvision.
    image_size: width and height in pixels that images are brought to; null leaves them as they are.
    mean, std: one number a channel for images in [0, 1]; null takes the data set's own.
    augmentation: random changes of training images.
    calibration: images set apart from training, which criteria, compensation and proxies look at; null takes 512, or a
    sixth of the training images where calibration and search would be more than half of them.
    relevance_per_class: how many calibration images of each class LRP relevance takes, the dearest of the criteria's
    statistics; null takes all. Everything else takes all calibration images.
    search: images on which candidates are judged; null takes 1000, or a third of the training images, as for
    calibration.
    test: how many images to set apart as test part, for sets that come without one; null takes a fifth.
    validation: where the images to search on come from: auto from a validation part (of class folders, `val` beside
    `test`) where there is one, else out of training; part asks for one (then `val` is it also without a `test`); none
    takes them out of training; a number takes so many images of the test part, which the test then leaves out.
    on_error: skip leaves out images of class folders that cannot be read, and counts them; stop ends with the first.
    in_memory: decode images once and keep them; false reads files in every pass. auto keeps up to 1 GiB a part.
    cache: where decoded images of class folders that are kept in memory are also kept for the next run, until a file
    changes: true in runs/.cache, if decoding takes over two seconds; a folder always there; false nowhere.
    limit: use only so many class-balanced training images, for quick trials.
    labels: predicted replaces the labels of all images but the test part by what the unpruned network says of them,
    once it stands: criteria, proxies and retraining then see no other.
    workers: processes that decode images, at most one a core where they are read into memory; 0 or 1 decodes in one.
    """

    name: Text = "folder"
    root: Text | None = None
    download: bool = False
    image_size: Count | None = None
    mean: Levels | None = None
    std: Spreads | None = None
    augmentation: AugmentationConfig = AugmentationConfig()
    calibration: Count | None = None
    relevance_per_class: Count | None = 10
    search: Count | None = None
    test: Count | None = None
    validation: Literal["auto", "part", "none"] | Count = "auto"
    in_memory: bool | Literal["auto"] = "auto"
    cache: bool | Text = True
    limit: Count | None = None
    labels: Literal["given", "predicted"] = "given"
    on_error: Literal["stop", "skip"] = "stop"
    workers: Annotated[int, Field(ge=0)] = 2

    @model_validator(mode="after")
    def _mean_and_std_agree(self) -> DataConfig:
        if self.mean and self.std and len(self.mean) != len(self.std):
            raise broken_rule(
                f"mean and std need one number a channel each (given {len(self.mean)} and {len(self.std)})"
            )
        return self
