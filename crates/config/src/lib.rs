//! Raw file to checked settings: loading, interpolation, origins, schema. The only reader of the environment.
