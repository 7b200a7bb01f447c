//! Offers, subscriptions and metrics over the WebSocket, media beside it.

use std::time::Duration;

use call_protocol::MediaSource;
use call_protocol::wire::{ClientMessage, ServerMessage};
use call_room::{SfuCommand, SfuEvent};
use call_server::{RoomsConfig, ServerConfig, TopologyChoice, serve};
use tokio::time::sleep;

use super::world::{Member, Shape, room, tile};
use crate::client::{Client, get, metric, within};

/// A member with its WebSocket.
struct Seated {
    client: Client,
    member: Member,
}

impl Seated {
    async fn enter(http: std::net::SocketAddr) -> Self {
        let (mut client, seat) = Client::enter(http, 1).await;
        let mut member = Member::new(room(1), seat.member, true);
        let SfuCommand::Offer {
            link, sdp, tracks, ..
        } = member.offer(Shape::default())
        else {
            panic!("no offer");
        };
        client
            .say(&ClientMessage::SfuOffer { link, sdp, tracks })
            .await;
        Self { client, member }
    }

    /// Takes what the server said within a moment, and moves datagrams.
    async fn turn(&mut self) {
        let moment = Duration::from_millis(1);
        while let Ok(message) = tokio::time::timeout(moment, self.client.hear()).await {
            match message {
                ServerMessage::SfuAnswer { link, sdp } => {
                    self.member.handle_event(SfuEvent::Answer { link, sdp });
                }
                ServerMessage::SfuSlots { link, slots } => {
                    self.member.handle_event(SfuEvent::Slots { link, slots });
                }
                ServerMessage::SfuLayers { source, wanted } => {
                    self.member
                        .handle_event(SfuEvent::Layers { source, wanted });
                }
                ServerMessage::SfuClosed { link, code } => {
                    self.member.handle_event(SfuEvent::Closed { link, code });
                }
                _ => {}
            }
        }
        self.member.drive();
    }
}

#[tokio::test]
async fn media_flows_between_members_of_a_room_on_the_server() {
    let server = serve(ServerConfig {
        media_threads: 2,
        rooms: RoomsConfig {
            topology: TopologyChoice::Sfu,
            ..RoomsConfig::default()
        },
        ..ServerConfig::default()
    })
    .await
    .unwrap();
    let mut anna = Seated::enter(server.http).await;
    let mut ben = Seated::enter(server.http).await;
    let sender = anna.member.id.0;
    ben.client
        .say(&ClientMessage::Subscribe {
            tiles: vec![tile(sender, 320, 180)],
        })
        .await;
    within("pictures and sound", async {
        loop {
            anna.turn().await;
            ben.turn().await;
            if anna.member.is_connected {
                anna.member.send_sound(-20);
                anna.member.send_frame(2, false, 1, 300);
            }
            let has = |source| {
                let slot = ben.member.slot_of(sender, source);
                slot.is_some_and(|slot| ben.member.packets_of(slot).count() > 5)
            };
            if has(MediaSource::Camera) && has(MediaSource::Microphone) {
                return;
            }
        }
    })
    .await;
    assert_eq!(metric(server.http, "visavis_sfu_links").await, 2);
    assert!(metric(server.http, "visavis_sfu_packets_out_total").await > 10);
    let (_, text) = get(server.http, "/metrics").await;
    assert!(text.contains("visavis_sfu_cpu_seconds_total "), "{text}");
    anna.client.say(&ClientMessage::Leave).await;
    // Everything below goes on taking datagrams, so that the goodbye finds room in the socket.
    let alive = async {
        while ben.member.rtc.is_alive() {
            ben.member.drive();
            sleep(Duration::from_millis(1)).await;
        }
    };
    let end = async {
        while metric(server.http, "visavis_sfu_links").await != 1 {
            sleep(Duration::from_millis(1)).await;
        }
        // Closed by the drain as well.
        drop(ben.client);
        server.shutdown().await;
    };
    within("the link to end with the seat, and the server", async {
        tokio::join!(alive, end)
    })
    .await;
}
