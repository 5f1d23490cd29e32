"""Whether the database of the settings can be used, told before anything takes seconds."""

from sqlalchemy.exc import SQLAlchemyError

from gateway.runs.durable.database import close_database, open_database
from gateway.settings import Settings, SettingsError, variable


def check_database(settings: Settings) -> None:
    """See that the database can be used, before anything takes seconds or is taken up.

    Raises:
        SettingsError: it cannot, and why.
    """
    try:
        close_database(open_database(settings))
    except (SQLAlchemyError, ImportError, ValueError) as error:
        reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        # A URL may hold a password: it is named, not shown.
        where = variable("database") if settings.database else f"runs.sqlite in {settings.data}"
        raise SettingsError(f"{where}: {reason}") from None
