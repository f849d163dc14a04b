//! The policies between the order service and the user service: one pipeline, for whoever asks it for whatever.

use std::error::Error;

use withstand::{CircuitBreaker, CircuitBreakerEvent, Pipeline, pipeline::PipelineSettings};

/// It is part of the program, so that the example runs from anywhere. A service reads its file when it starts.
const SETTINGS: &str = include_str!("users.toml");

/// All that is a number is in the file. What is code is added here: someone hears of the circuit.
pub fn users(hear: impl Fn(&CircuitBreakerEvent) + Send + Sync + 'static) -> Result<Pipeline, Box<dyn Error>> {
    let settings: PipelineSettings = toml::from_str(SETTINGS)?;
    let circuit = settings.circuit_breaker.as_ref().ok_or("the file has no circuit breaker")?;
    let circuit_breaker = CircuitBreaker::builder("users").settings(circuit).listener_fn(hear).build()?;
    Ok(Pipeline::builder("users").settings(&settings).circuit_breaker(circuit_breaker).build()?)
}
