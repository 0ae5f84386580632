/// One entry of `listeners` or `advertised.listeners`.
package struct ListenerConfig: Sendable, Equatable {
    /// In capital letters.
    package var name: String
    /// Empty: every address. An IPv6 address is without brackets.
    package var host: String
    /// 0: chosen by the system.
    package var port: Int32

    package init(name: String, host: String, port: Int32) {
        self.name = name
        self.host = host
        self.port = port
    }

    /// `NAME://host:port`, the host possibly empty or `[IPv6]`.
    package init?(_ text: String) {
        guard let separator = text.firstRange(of: "://") else { return nil }
        let name = text[..<separator.lowerBound]
        let address = text[separator.upperBound...]
        guard let colon = address.lastIndex(of: ":"), let port = Int32(address[address.index(after: colon)...]),
            (0...65_535).contains(port), !name.isEmpty,
            name.utf8.allSatisfy({ $0 == 0x5f || $0 == 0x2d || $0 == 0x2e || isAlphanumeric($0) })
        else { return nil }
        var host = address[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = host.dropFirst().dropLast()
        } else if host.contains(":") {
            return nil
        }
        guard !host.contains(where: { $0 == "/" || $0 == " " }) else { return nil }
        self.init(name: name.uppercased(), host: String(host), port: port)
    }

    package var description: String {
        "\(self.name)://\(self.host.contains(":") ? "[\(self.host)]" : self.host):\(self.port)"
    }

    package static let form = "NAME://host:port (the host may be left out, an IPv6 address is in brackets)"
}

private func isAlphanumeric(_ byte: UInt8) -> Bool {
    (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
}
