//! Both services, left up to be tried manually.

use std::{error::Error, sync::Arc};

use axum::{Router, extract::State, routing::post};
use withstand::CircuitBreakerEvent;

use crate::{
    catalog::ApiError,
    order_service::{app, serve},
    policies,
    protected::Protected,
    remote::Remote,
    story::in_the_lessons_words,
    user_service::UserService,
};

const ORDERS: u16 = 3000;
const USERS: u16 = 3001;

pub async fn until_interrupted() -> Result<(), Box<dyn Error>> {
    let users = Arc::new(UserService::start_on(USERS)?);
    let orders = Protected::new(Remote::new(users.url(), Arc::default()), policies::users(say)?);
    let address = serve(app(orders).merge(admin(users.clone())), ORDERS).await?;
    print_what_to_try(users.url().as_str().trim_end_matches('/'), &format!("http://{address}"));
    tokio::signal::ctrl_c().await?;
    Ok(())
}

fn say(event: &CircuitBreakerEvent) {
    if let CircuitBreakerEvent::Transition { transition, .. } = event {
        println!("{}", in_the_lessons_words(transition.to));
    }
}

/// Two more routes, which stop the user service and start it again.
fn admin(users: Arc<UserService>) -> Router {
    Router::new()
        .route("/admin/user-service/stop", post(stop))
        .route("/admin/user-service/start", post(start))
        .with_state(users)
}

async fn stop(State(users): State<Arc<UserService>>) -> &'static str {
    users.stop();
    println!("The user service: STOPPED");
    "stopped\n"
}

async fn start(State(users): State<Arc<UserService>>) -> Result<&'static str, ApiError> {
    users.start().map_err(ApiError::internal)?;
    println!("The user service: started again");
    Ok("started\n")
}

fn print_what_to_try(users: &str, orders: &str) {
    println!(
        r#"user service:  {users}
order service: {orders}

Try, in another terminal:

  curl {users}/users
  curl -i {orders}/orders/1
  curl -i {orders}/orders -H 'content-type: application/json' \
       -d '{{"userId": 2, "products": [{{"name": "Mouse", "price": 25.5, "quantity": 2}}]}}'
  curl -X POST {orders}/admin/user-service/stop     # then the two above again, a few times
  curl -X POST {orders}/admin/user-service/start    # and again

Ctrl-C ends it.
"#
    );
}
