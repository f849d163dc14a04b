//! Both services, left up to be tried by hand.

use std::{
    error::Error,
    sync::{Arc, atomic::AtomicU64},
};

use axum::{Router, extract::State, routing::post};
use reqwest::Client;
use withstand::CircuitBreakerEvent;

use crate::{
    order_service::{app, serve},
    protected::Protected,
    story::in_the_lessons_words,
    user_service::UserService,
};

pub async fn until_interrupted() -> Result<(), Box<dyn Error>> {
    let users = Arc::new(UserService::start_on(3001)?);
    let hear = |event: &CircuitBreakerEvent| {
        if let CircuitBreakerEvent::Transition { transition, .. } = event {
            println!("{}", in_the_lessons_words(transition.to));
        }
    };
    let orders = Protected::new(Client::new(), users.url(), Arc::new(AtomicU64::new(0)), hear)?;
    let address = serve(app(orders).merge(switch(users.clone())), 3000).await?;
    print_what_to_try(&users.url(), &format!("http://{address}"));
    tokio::signal::ctrl_c().await?;
    Ok(())
}

/// Two more routes, which stop the user service and start it again.
fn switch(users: Arc<UserService>) -> Router {
    Router::new()
        .route("/user-service/stop", post(|State(users): State<Arc<UserService>>| async move { users.stop() }))
        .route(
            "/user-service/start",
            post(
                |State(users): State<Arc<UserService>>| async move { users.start().map_err(|error| error.to_string()) },
            ),
        )
        .with_state(users)
}

fn print_what_to_try(users: &str, orders: &str) {
    println!("user service:  {users}\norder service: {orders}\n\nTry, in another terminal:\n");
    println!("  curl {users}/users");
    println!("  curl {orders}/orders/1");
    println!(
        "  curl {orders}/orders -H 'content-type: application/json' \\\n       -d '{{\"userId\": 2, \"products\": [{{\"name\": \"Mouse\", \"price\": 25.5}}]}}'"
    );
    println!("  curl -X POST {orders}/user-service/stop     # then the two above again, a dozen times");
    println!("  curl -X POST {orders}/user-service/start\n\nCtrl-C ends it.");
}
