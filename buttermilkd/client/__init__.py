"""The client of the control API: everything that ``buttermilkctl`` does, for programs.

    from buttermilkd.client import Client

    created = Client().create("summarise", records=["a.txt", "b.txt"], parameters={"model": ["small", "large"]})
    print(created.batch_id)

Only the standard library is used, and ``asyncio`` is imported at the first use of ``AsyncClient``.
"""

from buttermilkd.client.asynchronous import AsyncClient
from buttermilkd.client.blocking import Client
from buttermilkd.client.creation import Created

__all__ = ["AsyncClient", "Client", "Created"]
