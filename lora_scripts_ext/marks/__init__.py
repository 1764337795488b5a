"""What says that an image was made by a model: in its file, and on it."""

from .label import Label as Label
from .reading import Found as Found
from .reading import read as read
from .writing import encode as encode
from .writing import write as write
