//! The stack's runtime with larger socket buffers, tunnels for links of data only, and for all others
//! the system's account of when packets arrived.
//!
//! Linux gives a UDP socket about 208 KiB; a burst of one 1 MiB SCTP window overflows it and the
//! loss costs nine tenths of the throughput. The system's `rmem_max` still caps what we get.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, Runtime,
    TokioRuntime,
};

use crate::arrivals::{Arrivals, StampedSocket};
use crate::tunnel::control::BulkControl;
use crate::tunnel::endpoint::Endpoint;
use crate::tunnel::socket::TunnelSocket;

const SOCKET_BUFFER_BYTES: usize = 1024 * 1024;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct BufferedRuntime {
    pub(crate) inner: TokioRuntime,
    /// Present where application data goes through a [tunnel](crate::tunnel).
    pub(crate) bulk: Option<Arc<BulkControl>>,
    /// Where the others note when packets arrived.
    pub(crate) arrivals: Arc<Arrivals>,
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl Runtime for BufferedRuntime {
    fn spawn(&self, future: Boxed<'static, ()>) -> Box<dyn JoinHandle> {
        self.inner.spawn(future)
    }

    fn spawn_reactor(&self, size: usize, future: Boxed<'static, ()>) -> Box<dyn JoinHandle> {
        self.inner.spawn_reactor(size, future)
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let options = socket2::SockRef::from(&socket);
        let receive = options.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
        let send = options.set_send_buffer_size(SOCKET_BUFFER_BYTES);
        if let Err(error) = receive.and(send) {
            tracing::debug!(%error, "socket buffers stay at the system's size");
        }
        let inner = self.inner.wrap_udp_socket(socket)?;
        let Some(bulk) = &self.bulk else {
            let arrivals = Arc::clone(&self.arrivals);
            return Ok(Arc::new(StampedSocket { inner, arrivals }));
        };
        let endpoint = Endpoint::new(StdRng::from_seed(rand::random()));
        Ok(Arc::new(TunnelSocket::new(
            inner,
            endpoint,
            Arc::clone(bulk),
        )))
    }

    fn wrap_tcp_listener(&self, listener: TcpListener) -> io::Result<Arc<dyn AsyncTcpListener>> {
        self.inner.wrap_tcp_listener(listener)
    }

    fn connect_tcp<'a>(
        &'a self,
        address: SocketAddr,
    ) -> Boxed<'a, io::Result<Arc<dyn AsyncTcpStream>>> {
        self.inner.connect_tcp(address)
    }

    fn resolve_host<'a>(&'a self, host: &'a str) -> Boxed<'a, io::Result<Vec<SocketAddr>>> {
        self.inner.resolve_host(host)
    }

    fn sleep(&self, duration: Duration) -> Boxed<'static, ()> {
        self.inner.sleep(duration)
    }

    fn interval(&self, period: Duration) -> Box<dyn AsyncInterval> {
        self.inner.interval(period)
    }

    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        self.inner.block_on(future);
    }

    fn yield_now(&self) -> Boxed<'static, ()> {
        self.inner.yield_now()
    }

    fn name(&self) -> &'static str {
        "tokio, large socket buffers"
    }
}
