import Glibc
import NIOCore
import Synchronization
import Testing

@testable import KafkaTransport

@Suite(.timeLimit(.minutes(1)))
struct LoopMailboxTests {
    @Test func itemsOfManyThreadsArriveInTheOrderOfEach() throws {
        let server = try TestServer()
        defer { server.stop() }
        let got = Mutex<[(thread: Int, value: Int)]>([])
        let loop = server.server.loops[0]
        let mailbox = LoopMailbox<(thread: Int, value: Int)>(loop: loop) { items in
            loop.eventLoop.preconditionInEventLoop()
            got.withLock { $0 += items }
        }
        let threads = (0..<4).map { thread in
            Thread { for value in 0..<1000 { mailbox.post((thread, value)) } }
        }
        for thread in threads { thread.join() }
        #expect(eventually { got.withLock { $0.count } == 4000 })
        for thread in 0..<4 {
            #expect(got.withLock { $0.filter { $0.thread == thread }.map(\.value) } == Array(0..<1000))
        }
    }

    /// A request wakes one that is parked on the same loop, and one on the other loop, through mailboxes.
    @Test func aRequestWakesParkedOnes() throws {
        let parked = Mutex<[(Connection, RequestTicket)]>([])
        let mailboxes = Mutex<[LoopMailbox<UInt8>]>([])
        let server = try TestServer { frame, connection, ticket, loop in
            let op = frame.withUnsafeMutableBytes { $0[2] }
            if op == 1 {
                parked.withLock { $0.append((connection, ticket)) }
                return .pending(mayOverlap: false)
            }
            for mailbox in mailboxes.withLock({ $0 }) { mailbox.post(op) }
            return .answered(answer([op]))
        }
        defer { server.stop() }
        for loop in server.server.loops {
            let mailbox = LoopMailbox<UInt8>(loop: loop) { items in
                let mine = parked.withLock { all in
                    let mine = all.filter { $0.0.loop === loop }
                    all.removeAll { $0.0.loop === loop }
                    return mine
                }
                for (connection, ticket) in mine { connection.complete(ticket, answer(items)) }
            }
            mailboxes.withLock { $0.append(mailbox) }
        }
        let clients = try (0..<6).map { _ in try TestClient(port: server.port) }
        for client in clients { client.send(request(1, [1])) }
        #expect(eventually { parked.withLock { $0.count } == 6 })
        let waker = try TestClient(port: server.port)
        waker.send(request(0, [7]))
        #expect(waker.receiveFrame() == [7])
        for client in clients { #expect(client.receiveFrame() == [7]) }
    }
}
