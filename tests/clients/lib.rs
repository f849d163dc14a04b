//! Clients that are called with `&mut`, through `Pipeline::call_with_context`: they compile, are spawned, and answer.
#![cfg(test)]

mod redis;
mod sqlx;
