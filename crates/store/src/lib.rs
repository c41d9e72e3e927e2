//! The control plane's memory: SQLite or PostgreSQL, migrations, one repository per aggregate. The only SQL.
