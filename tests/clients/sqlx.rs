//! A connection in a transaction. Each statement is an attempt; the transaction is the caller's, and is committed once.

use std::time::Duration;

use sqlx::{Sqlite, SqliteConnection, SqlitePool, Transaction, sqlite::SqlitePoolOptions};
use withstand::{Error, Pipeline, Rejected, RetryWithBackoff, Verdict, by_error, carries_rejected, lift};

type Failure = Error<sqlx::Error>;

#[derive(Debug, thiserror::Error)]
enum StoreError {
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    #[error("call rejected")]
    Policy(#[source] Rejected),
}
carries_rejected!(StoreError, Policy);

/// In memory, and so with one connection.
async fn pool() -> SqlitePool {
    let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.expect("it is in memory");
    sqlx::query("CREATE TABLE orders (item TEXT NOT NULL)").execute(&pool).await.expect("it is a good statement");
    pool
}

/// Another attempt follows a failure at once.
fn pipeline() -> Pipeline {
    let retry = RetryWithBackoff::builder("orders").no_backoff().build().expect("good settings");
    Pipeline::builder("orders").timeout(Duration::from_secs(30)).retry(retry).build().expect("good settings")
}

async fn count(connection: &mut SqliteConnection) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM orders").fetch_one(connection).await.expect("it is a good statement")
}

/// As an application has it: what the statement binds is borrowed from around the call.
async fn insert(orders: &Pipeline, open: &mut Transaction<'_, Sqlite>, item: &str) -> Result<u64, Failure> {
    let call = orders.call_with_context(&mut **open, |connection, _| {
        Box::pin(lift(async move {
            let insert = sqlx::query("INSERT INTO orders (item) VALUES (?)").bind(item);
            Ok(insert.execute(connection).await?.rows_affected())
        }))
    });
    call.await
}

#[tokio::test]
async fn p9_statements_of_a_transaction_in_a_spawned_task() {
    let (pool, orders) = (pool().await, pipeline());
    let call = tokio::spawn(async move {
        let mut open = lift(pool.begin()).await?;
        let items = vec![String::from("hammer"), String::from("nail")];
        for item in &items {
            insert(&orders, &mut open, item).await?;
        }
        lift(open.commit()).await?;
        let mut connection = lift(pool.acquire()).await?;
        Ok::<_, Failure>(count(&mut connection).await)
    });
    assert_eq!(call.await.expect("no panic").expect("it is in memory"), 2);
}

#[tokio::test]
async fn p9_a_statement_that_failed_is_sent_again_on_the_same_connection_over_an_error_of_ones_own() {
    let (pool, orders) = (pool().await, pipeline());
    let orders = orders.classify(by_error().errors_if(is_closed, Verdict::Unreached));
    let mut open = pool.begin().await.expect("it is in memory");
    let rows = orders.call_with_context(&mut open, |open, attempt| {
        // The first attempt fails.
        let table = if attempt.number == 1 { "no_such_table" } else { "orders" };
        Box::pin(async move {
            let insert = format!("INSERT INTO {table} (item) VALUES ('nail')");
            Ok::<_, StoreError>(sqlx::query(&insert).execute(&mut **open).await?.rows_affected())
        })
    });
    assert_eq!(rows.await.expect("the second attempt answers"), 1);
    assert_eq!(count(&mut open).await, 1);
    open.rollback().await.expect("it is in memory");
}

fn is_closed(error: &StoreError) -> bool {
    matches!(error, StoreError::Sql(sqlx::Error::PoolClosed))
}

/// What an attempt has done in the transaction stays done, though it was dropped. A savepoint for each attempt undoes it.
#[tokio::test]
async fn p9_what_an_attempt_that_timed_out_has_done_is_undone_by_a_savepoint() {
    assert_eq!(tokio::join!(seen_after_a_timeout(false), seen_after_a_timeout(true)), (2, 1));
}

/// How many rows a second attempt sees, its own included.
async fn seen_after_a_timeout(with_savepoint: bool) -> i64 {
    let pool = pool().await;
    let retry = RetryWithBackoff::builder("orders").no_backoff().build().expect("good settings");
    let orders = Pipeline::builder("orders").retry(retry).attempt_timeout(Duration::from_secs(5)).build();
    let orders = orders.expect("good settings");
    let mut open = pool.begin().await.expect("it is in memory");
    let call = orders.call_with_context(&mut *open, |connection, attempt| {
        Box::pin(lift(async move {
            use sqlx::Connection;
            let insert = sqlx::query("INSERT INTO orders (item) VALUES ('nail')");
            if !with_savepoint {
                insert.execute(&mut *connection).await?;
                hang_in_the_first(attempt.number).await;
                return Ok(count(connection).await);
            }
            let mut savepoint = connection.begin().await?;
            insert.execute(&mut *savepoint).await?;
            hang_in_the_first(attempt.number).await;
            let seen = count(&mut savepoint).await;
            savepoint.commit().await?;
            Ok(seen)
        }))
    });
    let seen: Result<i64, Failure> = call.await;
    open.rollback().await.expect("it is in memory");
    seen.expect("the second attempt answers")
}

async fn hang_in_the_first(attempt: u32) {
    if attempt == 1 {
        std::future::pending::<()>().await;
    }
}
