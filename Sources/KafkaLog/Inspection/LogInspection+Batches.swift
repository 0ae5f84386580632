import KafkaRecords

extension LogInspection {
    mutating func dumpBatches() throws(IOError) {
        let reader = try BatchReader(self.path)
        let scratch = DecompressionScratch(limit: self.options.maxBatchBytes)
        var nextOffset = self.baseOffset
        var isFirst = true
        while true {
            switch try reader.next() {
            case .end:
                return
            case .damage(let position, let length, let what):
                if position + length == reader.size, try reader.isZero(from: position) {
                    self.note("\(length) zero bytes at the end, from byte \(position) on")
                    return
                }
                self.damage(what, [.init("position", .int(position)), .init("length", .int(length))])
            case .batch(let position, let header, let isCRCValid):
                if isFirst {
                    self.emit(InspectedLine("start", [.init("Log starting offset", .int(header.baseOffset))]))
                }
                isFirst = false
                self.emit(Self.line(header, position: position, isValid: isCRCValid))
                let place: [InspectedValue.Field] = [
                    .init("offset", .int(header.baseOffset)), .init("position", .int(position)),
                ]
                if !isCRCValid { self.damage("the batch's CRC is wrong", place) }
                if header.baseOffset < nextOffset {
                    self.damage("the batch's offset is below \(nextOffset), which must come", place)
                }
                nextOffset = max(nextOffset, header.lastOffset + 1)
                if self.options.deep, isCRCValid { try self.dumpRecords(of: header, at: position, reader, scratch) }
            }
        }
    }

    static func line(_ header: RecordBatchHeader, position: Int, isValid: Bool) -> InspectedLine {
        let time = header.timestampType == .logAppendTime ? "LogAppendTime" : "CreateTime"
        return InspectedLine(
            "batch",
            [
                .init("baseOffset", .int(header.baseOffset)), .init("lastOffset", .int(header.lastOffset)),
                .init("count", .int(header.recordsCount)), .init("baseSequence", .int(header.baseSequence)),
                .init("lastSequence", .int(header.lastSequence)), .init("producerId", .int(header.producerID)),
                .init("producerEpoch", .int(header.producerEpoch)),
                .init("partitionLeaderEpoch", .int(header.partitionLeaderEpoch)),
                .init("isTransactional", .bool(header.isTransactional)), .init("isControl", .bool(header.isControl)),
                .init("deleteHorizonMs", header.hasDeleteHorizon ? .int(header.baseTimestamp) : .null),
                .init("position", .int(position)), .init(time, .int(header.maxTimestamp)),
                .init("size", .int(header.sizeInBytes)), .init("magic", .int(header.magic)),
                .init("compresscodec", .text(header.compression.map { "\($0)" } ?? "unknown")),
                .init("crc", .int(header.crc)), .init("isvalid", .bool(isValid)),
            ])
    }

    private mutating func dumpRecords(
        of header: RecordBatchHeader, at position: Int, _ reader: BatchReader, _ scratch: DecompressionScratch
    ) throws(IOError) {
        let place: [InspectedValue.Field] = [
            .init("offset", .int(header.baseOffset)), .init("position", .int(position)),
        ]
        guard let bytes = try reader.bytes(at: position, header, limit: self.options.maxBatchBytes) else {
            self.note("the batch at offset \(header.baseOffset) is too long to be looked into")
            return
        }
        let what: String? = bytes.withUnsafeBytes { bytes in
            do throws(RecordBatchError) {
                var records = try RecordBatchIterator(bytes, scratch: scratch, checkCRC: false)
                var index: Int32 = 0
                while let record = try records.next() {
                    self.emit(self.line(record, header, index))
                    index += 1
                }
                return nil
            } catch {
                return "\(error)"
            }
        }
        if let what { self.damage("its records cannot be read: \(what)", place) }
    }

    private func line(_ record: RecordView, _ header: RecordBatchHeader, _ index: Int32) -> InspectedLine {
        let time = header.timestampType == .logAppendTime ? "LogAppendTime" : "CreateTime"
        var fields: [InspectedValue.Field] = [
            .init("offset", .int(record.offset)), .init(time, .int(record.timestamp)),
            .init("keySize", .int(record.key?.count ?? -1)), .init("valueSize", .int(record.value?.count ?? -1)),
        ]
        if header.baseSequence >= 0 {
            // Compaction leaves gaps: the sequence goes with the offset.
            let delta = Int32(clamping: record.offset &- header.baseOffset)
            fields.append(.init("sequence", .int(RecordBatchHeader.sequence(header.baseSequence, plus: delta))))
        }
        var names: [InspectedValue] = []
        var headers: [InspectedValue] = []
        for header in record.headers {
            names.append(.bytes(Array(header.key)))
            headers.append(
                .object([
                    .init("key", .bytes(Array(header.key))),
                    .init("value", header.value.map { .bytes(Array($0)) } ?? .null),
                ]))
        }
        fields.append(.init("headerKeys", .list(names)))
        if header.isControl {
            fields += self.control(record)
        } else if self.options.printData {
            let decoded = self.options.decoder?(self.topic, record.key, record.value)
            fields.append(.init("key", decoded?.key ?? record.key.map { .bytes(Array($0)) } ?? .null))
            fields.append(.init("payload", decoded?.value ?? record.value.map { .bytes(Array($0)) } ?? .null))
            if !headers.isEmpty { fields.append(.init("headers", .list(headers))) }
        }
        return InspectedLine("record", fields)
    }

    private func control(_ record: RecordView) -> [InspectedValue.Field] {
        guard let key = record.key, let type = ControlRecordType(key: key) else {
            return [.init("controlType", .text("unknown"))]
        }
        guard type == .abort || type == .commit else { return [.init("controlType", .text("\(type)"))] }
        let marker = record.value.flatMap { EndTransactionMarker(value: $0) }
        return [
            .init("endTxnMarker", .text(type == .abort ? "ABORT" : "COMMIT")),
            .init("coordinatorEpoch", marker.map { .int($0.coordinatorEpoch) } ?? .null),
        ]
    }
}
