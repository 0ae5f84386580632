/// The metadata that consumers exchange through a group; the coordinator looks only for the topics.
package enum ConsumerProtocol {
    /// Adds the topics of a subscription: int16 version, then an array of strings, whatever the version (each
    /// begins with version 0's fields). False if the bytes are not that.
    package static func collectTopics(ofSubscription bytes: [UInt8], into topics: inout Set<String>) -> Bool {
        func int16(at position: Int) -> Int? {
            guard position + 2 <= bytes.count else { return nil }
            return Int(Int16(bitPattern: UInt16(bytes[position]) << 8 | UInt16(bytes[position + 1])))
        }
        guard let version = int16(at: 0), version >= 0,
            let high = int16(at: 2), let low = int16(at: 4)
        else { return false }
        let count = high << 16 | (low & 0xffff)
        // Each topic takes two bytes at least.
        guard count >= 0, count <= (bytes.count - 6) / 2 else { return false }
        var position = 6
        for _ in 0..<count {
            guard let length = int16(at: position), length >= 0, position + 2 + length <= bytes.count else {
                return false
            }
            topics.insert(String(decoding: bytes[(position + 2)..<(position + 2 + length)], as: UTF8.self))
            position += 2 + length
        }
        return true
    }
}
