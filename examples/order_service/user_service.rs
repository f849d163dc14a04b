//! The user service of the lesson, on a port and a thread of its own, so that it can die like a process.

use std::{
    future::IntoFuture,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
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
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::oneshot;

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
    running: Mutex<Option<Running>>,
}

struct Running {
    /// Dropping it ends the thread.
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl UserService {
    /// Up, on the wanted port or, if that is taken, on any.
    pub fn start_on(port: u16) -> io::Result<Self> {
        let listener = listen(port).or_else(|_| listen(0))?;
        let (address, data) = (listener.local_addr()?, Data::lesson());
        let running = Mutex::new(Some(Running::start(listener, app(data.clone()))?));
        Ok(Self { address, data, running })
    }

    pub fn url(&self) -> Url {
        Url::parse(&format!("http://{}", self.address)).expect("an address makes a URL")
    }

    pub fn set_delay(&self, delay: Duration) {
        self.data.delay_ms.store(delay.as_millis() as u64, Ordering::Relaxed);
    }

    /// Gone, its connections too: once this returns, the port rejects.
    pub fn stop(&self) {
        if let Some(Running { stop, thread }) = self.running.lock().expect("no panic under it").take() {
            drop(stop);
            // If it panicked it has said so, and it is gone all the same.
            let _ = thread.join();
        }
    }

    /// Up again, on the same port, unless it is up.
    pub fn start(&self) -> io::Result<()> {
        let mut running = self.running.lock().expect("no panic under it");
        if running.is_none() {
            *running = Some(Running::start(listen(self.address.port())?, app(self.data.clone()))?);
        }
        Ok(())
    }
}

impl Drop for UserService {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Running {
    fn start(listener: TcpListener, app: Router) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let serve = async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener of this process");
            tokio::select! {
                _ = axum::serve(listener, app).into_future() => {}
                _ = stopped => {}
            }
        };
        // The runtime ends with its thread, and takes every connection with it.
        let thread = std::thread::spawn(move || runtime.block_on(serve));
        Ok(Self { stop, thread })
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
