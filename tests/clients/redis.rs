//! A connection to Redis. The server here is a few lines that speak its protocol, so that no other is needed.

use std::{collections::HashMap, time::Duration};

use redis::{AsyncCommands, RedisError, aio::MultiplexedConnection};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};
use withstand::{Error, Pipeline, Rejected, Verdict, by_error, lift, pipeline::BoxPipeline};

type Failure = Error<RedisError>;

/// Serves connections one after the other; returns its address.
async fn serve() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    address
}

/// Answers commands until the client goes.
async fn answer(stream: TcpStream) {
    let mut stream = BufReader::new(stream);
    let mut numbers = HashMap::<String, i64>::new();
    let (mut asked, mut late) = (0, String::new());
    while let Some(command) = command(&mut stream).await {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        let reply = match words[..] {
            ["INCRBY", key, "1"] => {
                let number = numbers.entry(key.to_owned()).or_default();
                *number += 1;
                format!(":{number}\r\n")
            }
            // The first time it is asked, it is still loading its data.
            ["GET", "loading"] => {
                asked += 1;
                if asked == 1 { "-LOADING Redis is loading\r\n".into() } else { "$2\r\nup\r\n".into() }
            }
            // Its answer comes with that of the next command.
            ["GET", "late"] => {
                late = "$4\r\nlate\r\n".into();
                continue;
            }
            _ => "+OK\r\n".into(),
        };
        let replies = std::mem::take(&mut late) + &reply;
        if stream.write_all(replies.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Reads `*2 $3 GET $1 k`, the words of which are on lines of their own.
async fn command(stream: &mut BufReader<TcpStream>) -> Option<Vec<String>> {
    let words = number(stream, '*').await?;
    let mut command = Vec::new();
    for _ in 0..words {
        let mut word = vec![0; number(stream, '$').await? + 2];
        stream.read_exact(&mut word).await.ok()?;
        command.push(String::from_utf8_lossy(&word).trim_end().to_owned());
    }
    Some(command)
}

async fn number(stream: &mut BufReader<TcpStream>, mark: char) -> Option<usize> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    line.trim_end().strip_prefix(mark)?.parse().ok()
}

async fn connect() -> MultiplexedConnection {
    let client = redis::Client::open(format!("redis://{}/", serve().await)).expect("a good address");
    client.get_multiplexed_async_connection().await.expect("it listens")
}

fn pipeline() -> BoxPipeline<i64, Failure> {
    let judge = by_error().errors_if(RedisError::is_connection_refusal, Verdict::Unreached);
    Pipeline::standard_builder("cache").classify(judge).build().expect("good settings").boxed()
}

/// As an application has it: the key is borrowed from around the call.
async fn increase(
    cache: &BoxPipeline<i64, Failure>,
    redis: &mut MultiplexedConnection,
    key: &str,
) -> Result<i64, Failure> {
    cache.call_with_context(redis, |redis, _| Box::pin(lift(redis.incr(key, 1)))).await
}

#[tokio::test]
async fn p9_commands_on_one_connection_in_a_spawned_task() {
    let (mut redis, cache) = (connect().await, pipeline());
    let call = tokio::spawn(async move {
        let key = String::from("hits");
        let once = increase(&cache, &mut redis, &key).await?;
        Ok::<_, Failure>((once, increase(&cache, &mut redis, &key).await?))
    });
    assert_eq!(call.await.expect("no panic").expect("it answers"), (1, 2));
}

#[tokio::test]
async fn p9_a_command_that_failed_is_sent_again() {
    let mut redis = connect().await;
    let cache = Pipeline::standard("cache");
    let mut sent = 0;
    let state = cache.call_with_context(&mut redis, |redis, attempt| {
        sent = attempt.number;
        Box::pin(lift(redis.get::<_, String>("loading")))
    });
    let state: Result<String, Failure> = state.await;
    assert_eq!((state.expect("the second attempt answers").as_str(), sent), ("up", 2));
}

/// An attempt that is dropped does not disturb a multiplexed connection: it knows that an answer is still to come.
#[tokio::test]
async fn p9_the_connection_serves_on_after_an_attempt_that_timed_out() {
    let mut redis = connect().await;
    let cache = Pipeline::builder("cache").attempt_timeout(Duration::from_millis(100)).build().expect("good settings");
    let late = cache.call_with_context(&mut redis, |redis, _| Box::pin(lift(redis.get::<_, String>("late"))));
    let error: Failure = late.await.expect_err("nothing comes yet");
    assert!(matches!(error, Error::Rejected(Rejected::TimedOut(_))), "{error}");
    assert_eq!(increase(&pipeline(), &mut redis, "hits").await.expect("its own answer"), 1);
}
