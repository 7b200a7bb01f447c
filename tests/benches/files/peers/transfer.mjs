// One end of a transfer over a data channel, on whatever implements the W3C's RTCPeerConnection: a
// browser's page or a node package. It sends zeros from memory and throws away what it gets.

// The other end's queue never runs dry at these, at 100 MB/s and 20 ms of event loop.
const HIGH_WATER_BYTES = 8 * 1024 * 1024
const LOW_WATER_BYTES = 4 * 1024 * 1024
// How often the receiver tells how far it is.
const REPORT_MS = 100

// Reports go to `say`; what is returned takes the commands.
export function transfer(RTCPeerConnection, say) {
  const peer = new RTCPeerConnection({ iceServers: [] })
  let channel = null

  async function describe(description) {
    await peer.setLocalDescription(description)
    while (peer.iceGatheringState !== 'complete') {
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    const { type, sdp } = peer.localDescription
    say({ type: 'description', kind: type, sdp })
  }

  return async function handle(command) {
    switch (command.type) {
      case 'send':
        channel = peer.createDataChannel('file')
        channel.binaryType = 'arraybuffer'
        channel.onopen = () => say({ type: 'open' })
        await describe(await peer.createOffer())
        break
      case 'receive':
        peer.ondatachannel = (event) => {
          channel = event.channel
          receive(channel, command.bytes, say)
        }
        break
      case 'description':
        await peer.setRemoteDescription({ type: command.kind, sdp: command.sdp })
        if (command.kind === 'offer') await describe(await peer.createAnswer())
        break
      case 'go':
        send(channel, command.message_bytes, command.bytes)
        break
    }
  }
}

function send(channel, messageBytes, bytes) {
  const message = new Uint8Array(messageBytes)
  let left = bytes
  const fill = () => {
    while (left > 0 && channel.bufferedAmount < HIGH_WATER_BYTES) {
      channel.send(left < messageBytes ? message.subarray(0, left) : message)
      left -= Math.min(messageBytes, left)
    }
  }
  channel.bufferedAmountLowThreshold = LOW_WATER_BYTES
  channel.onbufferedamountlow = fill
  // wrtc does not always tell that little is left.
  setInterval(fill, 2)
  fill()
}

function receive(channel, bytes, say) {
  channel.binaryType = 'arraybuffer'
  const report = counter(bytes, say)
  channel.onmessage = (event) => report(event.data.byteLength)
}

// Counts what came and says so, at times and at the end.
export function counter(bytes, say) {
  let received = 0
  let said = 0
  return (length) => {
    received += length
    const now = performance.now()
    if (now - said >= REPORT_MS || received >= bytes) {
      said = now
      say({ type: 'received', bytes: received, at_ms: now, done: received >= bytes })
    }
  }
}

export { HIGH_WATER_BYTES, LOW_WATER_BYTES }
