//! The order service: the same routes for both variants, over whatever they know of users.

use std::{
    future::Future,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    extract::{
        Path, State,
        rejection::{JsonRejection, PathRejection},
    },
    http::StatusCode,
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::{
    catalog::{ApiError, Order, Product, Shown},
    user_service::User,
};

/// How the order service learns of users.
pub trait Users: Send + Sync + 'static {
    /// The user as an order shows it.
    fn show(&self, id: u64) -> impl Future<Output = Result<Shown, ApiError>> + Send;

    /// The user, for whom there is no fallback.
    fn get(&self, id: u64) -> impl Future<Output = Result<User, ApiError>> + Send;
}

struct Service<U> {
    users: U,
    orders: Mutex<Vec<Order>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewOrder {
    user_id: u64,
    products: Vec<Product>,
}

#[derive(Serialize)]
struct Found {
    order: Order,
    user: Shown,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Created {
    id: u64,
    user_id: u64,
    user_email: String,
    products: Vec<Product>,
    total: f64,
    created_at: String,
}

pub fn app(users: impl Users) -> Router {
    let laptop = Product { name: "Laptop".into(), price: 999.99, quantity: 1 };
    let orders = Mutex::new(vec![Order::new(1, 1, vec![laptop])]);
    Router::new()
        .route("/orders", post(create))
        .route("/orders/{id}", get(find))
        .with_state(Arc::new(Service { users, orders }))
}

/// Serves on the wanted port or, if that is taken, on any.
pub async fn serve(app: Router, port: u16) -> io::Result<SocketAddr> {
    let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
        Ok(listener) => listener,
        Err(_) => TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?,
    };
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(address)
}

async fn find<U: Users>(
    State(service): State<Arc<Service<U>>>,
    id: Result<Path<u64>, PathRejection>,
) -> Result<Json<Found>, ApiError> {
    let Path(id) = id.map_err(|rejection| ApiError::BadRequest(rejection.body_text()))?;
    let order = service.find(id).ok_or(ApiError::NoSuchOrder(id))?;
    let user = service.users.show(order.user_id).await?;
    Ok(Json(Found { order, user }))
}

async fn create<U: Users>(
    State(service): State<Arc<Service<U>>>,
    new: Result<Json<NewOrder>, JsonRejection>,
) -> Result<(StatusCode, Json<Created>), ApiError> {
    let Json(new) = new.map_err(|rejection| ApiError::BadRequest(rejection.body_text()))?;
    let user = service.users.get(new.user_id).await?;
    let order = service.add(user.id, new.products);
    Ok((StatusCode::CREATED, Json(Created::new(order, user.email))))
}

impl Created {
    fn new(order: Order, user_email: String) -> Self {
        let Order { id, user_id, products, total, created_at } = order;
        Self { id, user_id, user_email, products, total, created_at }
    }
}

impl<U> Service<U> {
    fn find(&self, id: u64) -> Option<Order> {
        self.orders.lock().expect("no panic under it").iter().find(|order| order.id == id).cloned()
    }

    fn add(&self, user_id: u64, products: Vec<Product>) -> Order {
        let mut orders = self.orders.lock().expect("no panic under it");
        let order = Order::new(orders.len() as u64 + 1, user_id, products);
        orders.push(order.clone());
        order
    }
}
