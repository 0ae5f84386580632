extension LogInspection {
    /// A checkpoint of version 0: so many lines of so many words. Numbers but for the topic's name.
    mutating func dumpCheckpoint(_ names: [String]) throws(IOError) {
        guard let bytes = try FileSystem.contents(self.path) else { return self.damage("there is no such file") }
        guard let lines = Checkpoint.decode(bytes) else {
            return self.damage("no checkpoint of version 0, or its number of lines is not what it says")
        }
        self.emit(InspectedLine("header", [.init("version", .int(0)), .init("entries", .int(lines.count))]))
        for line in lines {
            guard line.count == names.count else {
                self.damage("a line of \(line.count) words: \(line.joined(separator: " "))")
                continue
            }
            var fields: [InspectedValue.Field] = []
            for (name, word) in zip(names, line) {
                if name == "topic" {
                    fields.append(.init(name, .text(String(word))))
                } else if let number = Int64(word), number >= 0 {
                    fields.append(.init(name, .int(number)))
                } else {
                    self.damage("\(name) is no number: \(word)")
                }
            }
            self.emit(InspectedLine("entry", fields))
        }
    }

    mutating func dumpProperties(_ separator: Character) throws(IOError) {
        guard let bytes = try FileSystem.contents(self.path, limit: 1 << 16) else {
            return self.damage("there is no such file")
        }
        for line in String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isNewline)
        where !line.hasPrefix("#") {
            guard let at = line.firstIndex(of: separator) else {
                self.damage("a line without '\(separator)': \(line)")
                continue
            }
            let value = line[line.index(after: at)...].drop { $0 == " " }
            self.emit(InspectedLine("entry", [.init(String(line[..<at]), .text(String(value)))]))
        }
    }

    mutating func dumpPlain() throws(IOError) {
        guard let bytes = try FileSystem.contents(self.path, limit: 1 << 16) else {
            return self.damage("there is no such file")
        }
        self.emit(InspectedLine("content", [.init("content", .bytes(bytes))]))
    }
}
