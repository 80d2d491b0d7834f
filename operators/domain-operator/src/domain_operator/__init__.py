"""The Domain operator: compiles a Domain to a service, its database schema, migrations and surroundings."""
