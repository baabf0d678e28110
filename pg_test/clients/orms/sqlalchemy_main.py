"""Runs the code of docs/orms.md for SQLAlchemy: `migrate NAME`, or `use`, which prints what each token sees as JSON."""

import importlib
import json
import sys
import traceback

from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

import shop

if sys.argv[1] == "migrate":
    with shop.engine.begin() as connection, Operations.context(MigrationContext.configure(connection)):
        importlib.import_module(sys.argv[2]).upgrade()
    sys.exit()

for token, number in zip(sys.argv[2::2], sys.argv[3::2]):
    try:
        with shop.session(token) as session:
            session.add(shop.Invoice(number=number))
            session.commit()
            # The next transaction of the session has the identity too.
            print(json.dumps(sorted(session.scalars(select(shop.Invoice.number)))))
    except DBAPIError:
        print(json.dumps(traceback.format_exc()))
with shop.engine.connect() as connection:
    print(json.dumps(list(connection.scalars(text("SELECT number FROM invoice")))))
