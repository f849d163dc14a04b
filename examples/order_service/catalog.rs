//! What both variants of the order service say: orders, users as they show them, errors as HTTP answers.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use axum::{
    Json,
    http::{StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::user_service::User;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Product {
    pub name: String,
    pub price: f64,
    #[serde(default = "one")]
    pub quantity: u32,
}

fn one() -> u32 {
    1
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    pub id: u64,
    pub user_id: u64,
    pub products: Vec<Product>,
    pub total: f64,
    pub created_at: String,
}

impl Order {
    pub fn new(id: u64, user_id: u64, products: Vec<Product>) -> Self {
        let total = products.iter().map(|product| product.price * f64::from(product.quantity)).sum();
        let created_at = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        Self { id, user_id, products, total, created_at }
    }
}

/// A user as an order shows it: all of it, or the little that is known without the user service.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Shown {
    Full(User),
    Unavailable { id: u64, name: &'static str },
}

impl Shown {
    pub fn unavailable(id: u64) -> Self {
        Self::Unavailable { id, name: "User details unavailable" }
    }
}

/// What the order service answers when it cannot do what it was asked.
#[derive(Debug)]
pub enum ApiError {
    BadRequest(String),
    NoSuchOrder(u64),
    NoSuchUser(u64),
    /// Not now: the user service is away, for so long as far as we know.
    Unavailable(Option<Duration>),
    Internal(String),
}

impl ApiError {
    pub fn internal(error: impl fmt::Display) -> Self {
        Self::Internal(error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, message) = match &self {
            Self::BadRequest(why) => (StatusCode::BAD_REQUEST, why.clone()),
            Self::NoSuchOrder(id) => (StatusCode::NOT_FOUND, format!("Order {id} not found")),
            Self::NoSuchUser(id) => (StatusCode::UNPROCESSABLE_ENTITY, format!("User {id} not found")),
            Self::Unavailable(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "The user service is away, please ask again later".into())
            }
            Self::Internal(why) => (StatusCode::INTERNAL_SERVER_ERROR, why.clone()),
        };
        let mut response = (status, Json(json!({ "message": message }))).into_response();
        if let Self::Unavailable(retry_after) = self {
            response.headers_mut().insert(RETRY_AFTER, whole_seconds(retry_after).into());
        }
        response
    }
}

/// A `Retry-After` of at least a second: the header has no fractions.
pub fn whole_seconds(span: Option<Duration>) -> u64 {
    span.map_or(1, |span| span.as_secs_f64().ceil() as u64).max(1)
}
