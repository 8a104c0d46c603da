"""The directory function: models, prices, dry runs, receipts, signatures, keys. Buffered."""

from phigate.aws.buffered import Buffered
from phigate.aws.directory import directory

handler = Buffered(directory)
