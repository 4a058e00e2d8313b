"""Arrays in annotations, in jaxtyping's words: `Float[Tensor, "rows dim"]` is a tensor of floats with two axes.

A type checker reads the array's class and people read the rest; nothing evaluates it. Each name is `Annotated`, so that
a start need not import jaxtyping, which takes as long as numpy (and is what these words come from:
https://docs.kidger.site/jaxtyping/api/array/).
"""

from typing import Annotated as Bool
from typing import Annotated as Float
from typing import Annotated as Float32
from typing import Annotated as Float64
from typing import Annotated as Int
from typing import Annotated as Int8
from typing import Annotated as Int64
from typing import Annotated as Shaped
from typing import Annotated as UInt
from typing import Annotated as UInt8
from typing import Annotated as UInt64

__all__ = ["Bool", "Float", "Float32", "Float64", "Int", "Int8", "Int64", "Shaped", "UInt", "UInt8", "UInt64"]
