"""What a model takes, counted from its headers, beside what it takes; and what is said where that is too much."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch
from small_files import write

import lmworks as lm
from lmworks.basics import memory
from lmworks.basics.errors import ModelError
from lmworks.kernels import footprint
from lmworks.kernels.footprint import Footprint
from lmworks.models.files import directory
