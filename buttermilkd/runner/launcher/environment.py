"""Which variables of a service its jobs see. Standard library only: the launcher as a unit of its own asks it too."""

from collections.abc import Mapping

_NOT_INHERITED = (
    *("NOTIFY_SOCKET", "JOURNAL_STREAM", "INVOCATION_ID", "CREDENTIALS_DIRECTORY", "FDSTORE"),
    # Folders of the service's unit: a daemon or web server that a job starts would take them for its own.
    *(f"{kind}_DIRECTORY" for kind in ("RUNTIME", "STATE", "CACHE", "LOGS", "CONFIGURATION")),
    # By which the daemon speaks to Pub/Sub: a flow that needs a key is given its own.
    *(
        "GOOGLE_APPLICATION_CREDENTIALS",
        "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE",
        "CLOUDSDK_AUTH_ACCESS_TOKEN",
    ),
)
_NOT_INHERITED_PREFIXES = ("LISTEN_", "WATCHDOG_", "BUTTERMILKD_")


def inherited(of_service: Mapping[str, str]) -> dict[str, str]:
    """A service's environment without what is meant for the service alone."""
    return {
        name: value
        for name, value in of_service.items()
        if name not in _NOT_INHERITED and not name.startswith(_NOT_INHERITED_PREFIXES)
    }
