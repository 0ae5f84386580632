import Glibc
import KafkaLog
import KafkaMetadata
import KafkaPrimitives
import Logging

extension Broker {
    /// Opens the metadata store of the data folders. Where Apache Kafka wrote them, and that was not done before, its
    /// metadata is taken over first; until all of it is understood, nothing is written.
    ///
    /// Taken over is in one transaction, with the key `adopted/kafka`: a start that is killed before it has changed
    /// nothing that counts and is repeated by the next one, after it the key says that it is done. Kafka's metadata log
    /// stays where it is and is not looked at again, but for its size.
    static func openStore(
        _ logManager: LogManager, _ config: KafkaConfig, _ logger: Logger
    ) throws(BrokerError) -> LocalMetadataStore {
        let path = logManager.directories[0].path + "/" + LocalMetadataStore.sqliteFileName
        do throws(BrokerError) {
            guard let folder = try self.kafkaFolder(logManager, config) else { return try self.store(path) }
            var adoption: KafkaAdoption?
            if access(path, F_OK) != 0 { adoption = try self.plan(folder, logManager, config) }
            let store = try self.store(path)
            do throws(BrokerError) {
                try self.adopt(folder, adoption, store, logManager, config, logger)
            } catch {
                store.close(leavingFileAsItIs: true)
                throw error
            }
            return store
        } catch {
            logManager.abandon()
            throw error
        }
    }

    private static func store(_ path: String) throws(BrokerError) -> LocalMetadataStore {
        do throws(MetadataStoreError) { return try LocalMetadataStore.sqlite(path: path) } catch {
            throw BrokerError(error.description)
        }
    }

    /// Where Kafka's metadata log is, if there is one: in one of log.dirs, or in metadata.log.dir.
    private static func kafkaFolder(
        _ logManager: LogManager, _ config: KafkaConfig
    ) throws(BrokerError) -> KafkaFolder? {
        var paths = logManager.directories.filter(\.hasKafkaMetadata).map(\.path)
        if let other = config.lookup(["metadata.log.dir"])?.value, !other.isEmpty, !config.logDirs.contains(other) {
            paths.append(other)
        }
        var folders: [KafkaFolder] = []
        for path in paths {
            do throws(IOError) {
                if let folder = try KafkaFolder(directory: path) { folders.append(folder) }
            } catch {
                throw BrokerError("data folder \(path): \(error)")
            }
        }
        guard folders.count < 2 else {
            throw BrokerError(
                "\(folders[0].directory) and \(folders[1].directory) both have \(KafkaFolder.metadataLog); one must be removed"
            )
        }
        return folders.first
    }

    /// Reads and judges; changes nothing.
    private static func plan(
        _ folder: KafkaFolder, _ logManager: LogManager, _ config: KafkaConfig
    ) throws(BrokerError) -> KafkaAdoption {
        do {
            let metadata = try KafkaMetadataLog.read(folder)
            var directories: [(path: String, id: KafkaUUID, partitions: [KafkaFolder.PartitionEntry])] = []
            for directory in logManager.directories {
                directories.append((directory.path, directory.id, try KafkaFolder.partitions(in: directory.path)))
            }
            let quorumState = try folder.contents("quorum-state")
            let found = KafkaAdoption.Found(
                nodeID: config.nodeID, clusterID: logManager.clusterID, directories: directories,
                metadata: metadata, lastSegment: folder.segments.last,
                quorumVoters: KafkaAdoption.voters(quorumState: quorumState ?? []))
            return try KafkaAdoption(found, config: config, now: wallClockMs())
        } catch {
            throw BrokerError(
                "data folder \(folder.directory) was written by Apache Kafka and cannot be opened: \(error)")
        }
    }

    private static func adopt(
        _ folder: KafkaFolder, _ planned: KafkaAdoption?, _ store: LocalMetadataStore, _ logManager: LogManager,
        _ config: KafkaConfig, _ logger: Logger
    ) throws(BrokerError) {
        do {
            if let marker = try store.readAndWait(.key(KafkaAdoption.key)).entries.first {
                return try self.checkUntouched(folder, MetadataRecord(marker.value))
            }
            guard try store.readAndWait(.all, limit: 1).entries.isEmpty else {
                throw BrokerError(
                    """
                    data folder \(folder.directory) has both Ottla's metadata and Apache Kafka's \
                    (\(KafkaFolder.metadataLog)), which was never taken over; move one of them away
                    """)
            }
            let adoption = try planned ?? self.plan(folder, logManager, config)
            for directory in logManager.directories { try directory.completeProperties() }
            guard case .committed = try store.commitAndWait(adoption.transaction) else {
                throw BrokerError("the metadata store was changed by somebody else")
            }
            self.tell(adoption, folder, logManager, config, logger)
        } catch {
            throw error as? BrokerError ?? BrokerError("\(error)")
        }
    }

    /// A Kafka that runs again on the folder goes on from its old metadata: topics and producer ids would no longer
    /// mean the same here and there.
    private static func checkUntouched(_ folder: KafkaFolder, _ marker: MetadataRecord) throws(BrokerError) {
        let last = folder.segments.last
        guard marker["segment"] == last?.name ?? "", marker["size"] == String(last?.size ?? 0) else {
            throw BrokerError(
                """
                data folder \(folder.directory): Apache Kafka has run on it since Ottla took it over (its \
                \(KafkaFolder.metadataLog) has changed). What either has done the other does not know. To go on with \
                Ottla's state move \(KafkaFolder.metadataLog) away
                """)
        }
    }

    private static func tell(
        _ adoption: KafkaAdoption, _ folder: KafkaFolder, _ logManager: LogManager, _ config: KafkaConfig,
        _ logger: Logger
    ) {
        let summary = adoption.summary
        logger.notice(
            """
            took over a data folder of Apache Kafka: \(folder.directory), cluster \(logManager.clusterID), \
            node \(config.nodeID), metadata.version \(summary.metadataVersion), \
            metadata up to offset \(summary.endOffset)
            """)
        logger.notice(
            """
            took over \(summary.topics) topics, \(summary.partitions) partitions, \(summary.topicConfigs) topic configs, \
            \(summary.brokerConfigs) broker configs, \(summary.groupConfigs) group configs; \
            producer ids go on from \(summary.nextProducerID)
            """)
        for warning in adoption.warnings { logger.warning("\(warning)") }
        logger.notice(
            """
            groups and their offsets are read from __consumer_offsets; \(KafkaFolder.metadataLog) stays as it is and \
            is not read again: from now on the folder is Ottla's
            """)
    }
}

extension KafkaAdoption {
    /// The voters that the file `quorum-state` names: `{"currentVoters":[{"voterId":1}],…}`. In version 1 there are none.
    static func voters(quorumState bytes: [UInt8]) -> [Int32] {
        let text = String(decoding: bytes, as: UTF8.self)
        return text.split(separator: "\"voterId\"").dropFirst().compactMap { part in
            let number = part.drop { $0 == ":" || $0 == " " }.prefix { $0.isNumber }
            return Int32(number)
        }
    }
}

extension KafkaConfig {
    /// ottla.adopt.without
    var adoptWithout: Set<String> { Set(configList(self.lookup(["ottla.adopt.without"])?.value ?? "")) }
}
