"""The blob of stored headers at start: into the index, a torn end cut off, what is damaged set aside.

What is set aside is fetched again from peers; it is kept for whoever wants to know what the disk did.
"""

from __future__ import annotations

from twisted.logger import Logger

from p2pframe.interfaces import IBlob, INamespace
from p2pframe.protocols.bitcoin.header_index import HeaderIndex
from p2pframe.protocols.bitcoin.header_loader import CorruptHeaders, HeaderLoader

NAME = "headers"
ASIDE = "headers-aside"
_CHUNK = 4_000_000


async def load_header_blob(index: HeaderIndex, storage: INamespace, log: Logger) -> IBlob:
    """Fill an empty index; returns the blob that new headers are to be appended to. Raises `StorageError`."""
    blob = storage.blob(NAME)
    loader = HeaderLoader(index)
    for offset in range(0, blob.size, _CHUNK):
        loader.feed(await blob.read(offset, _CHUNK))
    try:
        loaded = loader.finish()
    except CorruptHeaders as error:
        log.error("{error}", error=str(error))
        aside = storage.blob(ASIDE)
        await aside.truncate(0)
        for offset in range(error.good, blob.size, _CHUNK):
            aside.append(await blob.read(offset, _CHUNK))
        await blob.truncate(error.good)
    else:
        if loaded.cut:
            log.warn("{cut} bytes of torn headers were cut off", cut=loaded.cut)
            await blob.truncate(blob.size - loaded.cut)
    return blob
