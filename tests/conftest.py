"""One thread for each process of the tests.

OpenMP's threads spin while they wait for each other, so two processes that both take all cores slow each other down
many times over. It has to be set before torch is imported; processes that tests start inherit it.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
