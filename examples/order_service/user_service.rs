//! The user service of the lesson, on a port and a runtime of its own, so that it can die like a process.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::runtime::Runtime;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct User {
    pub id: u64,
    pub name: String,
    pub email: String,
}

#[derive(Deserialize)]
struct NewUser {
    name: String,
    email: String,
}

/// What outlives a stop: the users, and how slow it answers.
#[derive(Clone)]
struct Data {
    users: Arc<Mutex<Vec<User>>>,
    delay_ms: Arc<AtomicU64>,
}

pub struct UserService {
    address: SocketAddr,
    data: Data,
    running: Mutex<Option<Runtime>>,
}

impl UserService {
    /// Up, on the wanted port or, if that is taken, on any.
    pub fn start_on(port: u16) -> io::Result<Self> {
        let listener = listen(port).or_else(|_| listen(0))?;
        let service = Self { address: listener.local_addr()?, data: Data::lesson(), running: Mutex::new(None) };
        service.serve(listener)?;
        Ok(service)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn set_delay(&self, delay: Duration) {
        self.data.delay_ms.store(delay.as_millis() as u64, Ordering::Relaxed);
    }

    /// Gone at once, its connections too: from here on the port refuses.
    pub fn stop(&self) {
        if let Some(runtime) = self.running.lock().expect("no panic under it").take() {
            runtime.shutdown_background();
        }
    }

    /// Up again, on the same port.
    pub fn start(&self) -> io::Result<()> {
        self.stop();
        self.serve(listen(self.address.port())?)
    }

    fn serve(&self, listener: TcpListener) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let app = app(self.data.clone());
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener of this process");
            axum::serve(listener, app).await
        });
        *self.running.lock().expect("no panic under it") = Some(runtime);
        Ok(())
    }
}

impl Drop for UserService {
    fn drop(&mut self) {
        self.stop();
    }
}

fn listen(port: u16) -> io::Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

impl Data {
    fn lesson() -> Self {
        let user = |id, name: &str, email: &str| User { id, name: name.into(), email: email.into() };
        let users = vec![user(1, "John Doe", "john@example.com"), user(2, "Jane Smith", "jane@example.com")];
        Self { users: Arc::new(Mutex::new(users)), delay_ms: Arc::default() }
    }
}

fn app(data: Data) -> Router {
    Router::new()
        .route("/users", get(list).post(create))
        .route("/users/{id}", get(find))
        .layer(from_fn_with_state(data.clone(), delay))
        .with_state(data)
}

async fn delay(State(data): State<Data>, request: axum::extract::Request, next: Next) -> Response {
    tokio::time::sleep(Duration::from_millis(data.delay_ms.load(Ordering::Relaxed))).await;
    next.run(request).await
}

async fn list(State(data): State<Data>) -> Json<Vec<User>> {
    Json(data.users.lock().expect("no panic under it").clone())
}

async fn find(State(data): State<Data>, Path(id): Path<u64>) -> Response {
    match data.users.lock().expect("no panic under it").iter().find(|user| user.id == id) {
        Some(user) => Json(user).into_response(),
        None => (StatusCode::NOT_FOUND, Json(json!({ "message": "User not found" }))).into_response(),
    }
}

async fn create(State(data): State<Data>, Json(new): Json<NewUser>) -> (StatusCode, Json<User>) {
    let mut users = data.users.lock().expect("no panic under it");
    let user = User { id: users.len() as u64 + 1, name: new.name, email: new.email };
    users.push(user.clone());
    (StatusCode::CREATED, Json(user))
}
