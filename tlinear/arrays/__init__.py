"""The only room that knows array libraries other than NumPy exist.

``host`` is about NumPy's arrays and dtypes, of whose range ``limits`` tells, and ``bfloat16`` of the one that NumPy has
by another package; a ``space`` is a library and a device, and how arrays are handled
there; ``foreign`` is that by the array API standard; ``crossing`` is the way from one to another.
"""

from tlinear.arrays.crossing import adopt as adopt
from tlinear.arrays.crossing import adopt_inexact as adopt_inexact
from tlinear.arrays.crossing import as_parameter as as_parameter
from tlinear.arrays.crossing import as_source as as_source
from tlinear.arrays.crossing import bring as bring
from tlinear.arrays.crossing import common_space as common_space
from tlinear.arrays.crossing import computed_by_numpy_alone as computed_by_numpy_alone
from tlinear.arrays.crossing import find_space as find_space
from tlinear.arrays.crossing import space_of as space_of
from tlinear.arrays.crossing import to_inexact as to_inexact
from tlinear.arrays.crossing import to_numpy as to_numpy
from tlinear.arrays.host import Array as Array
from tlinear.arrays.host import DType as DType
from tlinear.arrays.host import as_dtype as as_dtype
from tlinear.arrays.host import as_numpy as as_numpy
from tlinear.arrays.host import check_finite as check_finite
from tlinear.arrays.host import compute_dtype as compute_dtype
from tlinear.arrays.host import contiguous as contiguous
from tlinear.arrays.host import inexact_dtype as inexact_dtype
from tlinear.arrays.host import is_inexact as is_inexact
from tlinear.arrays.host import largest_part as largest_part
from tlinear.arrays.host import match_dtype as match_dtype
from tlinear.arrays.host import parameter_dtype as parameter_dtype
from tlinear.arrays.host import times_power_of_two as times_power_of_two
from tlinear.arrays.limits import Limits as Limits
from tlinear.arrays.limits import limits_of as limits_of
from tlinear.arrays.space import NUMPY as NUMPY
from tlinear.arrays.space import Space as Space
