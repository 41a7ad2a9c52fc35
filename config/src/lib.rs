//! Configuration: TOML text to domain types that cannot be wrong.
