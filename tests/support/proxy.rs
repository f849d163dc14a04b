//! A TCP proxy on a loopback port, which can be told how to misbehave.
#![allow(unreachable_pub, reason = "a module of a test file")]

use std::{
    io, mem,
    net::{Ipv4Addr, SocketAddr},
    ops::ControlFlow::{self, Break, Continue},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::sleep,
};

/// What the proxy does to the connections that it has, and to those that come. Bytes count from an answer's first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Passes everything on.
    Healthy,
    /// Gone, like a process that died: its connections end, and its port rejects.
    Rejects,
    /// So many bytes, then a reset.
    ResetsAfter(usize),
    /// So many bytes, then silence.
    StallsAfter(usize),
    /// Something that is not HTTP, in place of each answer.
    Garbage,
    /// One byte, then another after this long.
    Drips(Duration),
    /// Closes a connection when it has been idle for a moment.
    ClosesIdle,
    /// Closes an idle connection as late as can be: with the next request already on its way.
    ClosesReused,
}

/// How long a connection is idle before [`Fault::ClosesIdle`] closes it.
const IDLE: Duration = Duration::from_millis(20);

const GARBAGE: &[u8] = b"\x16\x03\x01 220 this is no web server, welcome\r\n\r\n";

pub struct Proxy {
    address: SocketAddr,
    upstream: SocketAddr,
    fault: watch::Sender<Fault>,
    way: Way,
}

enum Way {
    /// The task owns the port and the connections, and takes them with it when it ends.
    Open(JoinHandle<()>),
    /// Bound without listening, it rejects, and no one else can have the port meanwhile.
    Closed(TcpSocket),
}

impl Proxy {
    /// A healthy one, on a port of its own.
    pub async fn start(upstream: SocketAddr) -> io::Result<Self> {
        let socket = bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let (address, fault) = (socket.local_addr()?, watch::Sender::new(Fault::Rejects));
        let mut proxy = Self { address, upstream, fault, way: Way::Closed(socket) };
        proxy.set(Fault::Healthy).await?;
        Ok(proxy)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Misbehaves like this from now on, on the connections that it has too.
    pub async fn set(&mut self, fault: Fault) -> io::Result<()> {
        self.fault.send_replace(fault);
        match fault {
            Fault::Rejects => self.close().await,
            _ => self.open(),
        }
    }

    /// How many connections it has.
    pub fn connections(&self) -> usize {
        // Each hears of the fault, and so does the open way.
        self.fault.receiver_count().saturating_sub(1)
    }

    /// Ends it, and every connection with it.
    pub async fn stop(mut self) -> io::Result<()> {
        self.close().await
    }

    async fn close(&mut self) -> io::Result<()> {
        if let Way::Open(task) = &mut self.way {
            task.abort();
            // It was aborted, and that is what it says.
            let _ = task.await;
            self.way = Way::Closed(bind(self.address)?);
        }
        Ok(())
    }

    fn open(&mut self) -> io::Result<()> {
        if let Way::Closed(socket) = &mut self.way {
            let listener = mem::replace(socket, TcpSocket::new_v4()?).listen(64)?;
            self.way = Way::Open(tokio::spawn(accept(listener, self.upstream, self.fault.subscribe())));
        }
        Ok(())
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // Connections that ended a moment ago do not keep the port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

async fn accept(listener: TcpListener, upstream: SocketAddr, fault: watch::Receiver<Fault>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        connections.spawn(relay(client, upstream, fault.clone()));
    }
}

/// Passes requests and answers on, until either side ends the connection, or the fault does.
async fn relay(mut client: TcpStream, upstream: SocketAddr, mut fault: watch::Receiver<Fault>) -> io::Result<()> {
    let mut server = TcpStream::connect(upstream).await?;
    let (mut request, mut answer) = ([0; 1024], [0; 1024]);
    // How much of the answer has come by; zero while a request waits for one.
    let mut answered = 0;
    loop {
        tokio::select! {
            read = client.read(&mut request) => match read? {
                0 => return Ok(()),
                _ if answered > 0 && *fault.borrow() == Fault::ClosesReused => return Ok(()),
                size => {
                    answered = 0;
                    server.write_all(&request[..size]).await?;
                }
            },
            read = server.read(&mut answer) => match read? {
                0 => return Ok(()),
                size => {
                    let fault = *fault.borrow();
                    if fault.befall(&mut client, &answer[..size], answered).await?.is_break() {
                        return Ok(());
                    }
                    answered += size;
                }
            },
            () = idle_for_too_long(&mut fault), if answered > 0 => return Ok(()),
        }
    }
}

async fn idle_for_too_long(fault: &mut watch::Receiver<Fault>) {
    // An error means that the proxy is gone, and then this is the end too.
    let _ = fault.wait_for(|fault| *fault == Fault::ClosesIdle).await;
    sleep(IDLE).await;
}

impl Fault {
    /// Passes on what is left of this part of an answer, after so many bytes of it. `Break` ends the connection.
    async fn befall(self, client: &mut TcpStream, part: &[u8], answered: usize) -> io::Result<ControlFlow<()>> {
        match self {
            Self::ResetsAfter(most) if answered + part.len() >= most => {
                client.write_all(&part[..most.saturating_sub(answered)]).await?;
                client.set_zero_linger()?;
                return Ok(Break(()));
            }
            Self::StallsAfter(most) if answered + part.len() >= most => {
                client.write_all(&part[..most.saturating_sub(answered)]).await?;
                // Until the client has had enough.
                while client.read(&mut [0; 64]).await? > 0 {}
                return Ok(Break(()));
            }
            Self::Garbage => client.write_all(GARBAGE).await?,
            Self::Drips(gap) => {
                for byte in part {
                    client.write_all(&[*byte]).await?;
                    sleep(gap).await;
                }
            }
            _ => client.write_all(part).await?,
        }
        Ok(Continue(()))
    }
}
