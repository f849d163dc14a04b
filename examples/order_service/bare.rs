//! The same way to the user service without any policy, as one writes it first.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use reqwest::{Client, StatusCode};

use crate::{
    catalog::{ApiError, Shown},
    order_service::Users,
    user_service::User,
};

pub struct Bare {
    pub client: Client,
    pub url: String,
    pub calls: Arc<AtomicU64>,
}

impl Users for Bare {
    async fn show(&self, id: u64) -> Result<Shown, ApiError> {
        self.get(id).await.map(Shown::Full)
    }

    async fn get(&self, id: u64) -> Result<User, ApiError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let internal = |error: reqwest::Error| ApiError::Internal(error.to_string());
        let response = self.client.get(format!("{}/users/{id}", self.url)).send().await.map_err(internal)?;
        match response.status() {
            StatusCode::NOT_FOUND => Err(ApiError::NoSuchUser(id)),
            _ => response.error_for_status().map_err(internal)?.json().await.map_err(internal),
        }
    }
}
