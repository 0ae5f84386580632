import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.URLDecoder;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ListOffsetsResult;
import org.apache.kafka.clients.admin.MemberToRemove;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.RemoveMembersFromConsumerGroupOptions;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.KafkaShareConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionReplica;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Kafka's Java client, driven from Python: see support/clients/java.py.
 *
 * <p>{@code OttlaClient drive HOST:PORT}: one command a line on standard input, a verb and fields {@code name=value}
 * between tabs, values URL-encoded. The answer is any number of lines {@code row}, fields between tabs, and then
 * {@code ok}, or {@code error CLASS MESSAGE}. Bytes are base64, null is {@code -}.
 *
 * <p>{@code OttlaClient member HOST:PORT GROUP TOPIC [name=value]...}: a member of a group until SIGTERM; what it
 * prints is what support/member.py prints.
 */
public final class OttlaClient {
    private static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);

    private final String bootstrap;
    private final List<Map<String, String>> pending = new ArrayList<>();
    private Admin admin;

    private OttlaClient(String bootstrap) {
        this.bootstrap = bootstrap;
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments[0].equals("member")) {
            member(arguments);
            return;
        }
        OttlaClient client = new OttlaClient(arguments[1]);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] parts = line.split("\t");
            Map<String, String> fields = new HashMap<>();
            for (int i = 1; i < parts.length; i++) {
                int at = parts[i].indexOf('=');
                fields.put(parts[i].substring(0, at), decoded(parts[i].substring(at + 1)));
            }
            try {
                client.run(parts[0], fields);
                OUT.println("ok");
            } catch (Throwable thrown) {
                Throwable cause = thrown instanceof ExecutionException ? thrown.getCause() : thrown;
                OUT.println("error\t" + cause.getClass().getSimpleName() + "\t" + encoded("" + cause.getMessage()));
            }
        }
        System.exit(0);
    }

    private void run(String verb, Map<String, String> fields) throws Exception {
        switch (verb) {
            case "record" -> pending.add(fields);
            case "produce" -> produce(fields);
            case "transaction" -> transaction(fields);
            case "consume" -> consume(fields);
            case "subscribe" -> subscribe(fields);
            case "share" -> share(fields);
            case "offsets" -> offsets(fields);
            case "time" -> time(fields);
            case "specials" -> specials(fields);
            case "commit" -> commit(fields);
            default -> administer(verb, fields);
        }
    }

    // ------------------------------------------------------------------------------------------- records

    private void produce(Map<String, String> fields) throws Exception {
        List<Map<String, String>> records = new ArrayList<>(pending);
        pending.clear();
        Properties properties = properties(fields);
        String topic = fields.get("topic");
        try (KafkaProducer<byte[], byte[]> producer =
                new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer())) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (Map<String, String> record : records) {
                sent.add(producer.send(record(topic, record)));
            }
            producer.flush();
            for (Future<RecordMetadata> one : sent) {
                RecordMetadata metadata = one.get(60, TimeUnit.SECONDS);
                row(metadata.partition(), metadata.offset(), metadata.timestamp());
            }
        }
    }

    private static ProducerRecord<byte[], byte[]> record(String topic, Map<String, String> fields) {
        String timestamp = fields.get("timestamp");
        ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(
                topic,
                Integer.valueOf(fields.get("partition")),
                timestamp == null ? null : Long.valueOf(timestamp),
                bytes(fields.get("key")),
                bytes(fields.get("value")));
        String headers = fields.getOrDefault("headers", "");
        for (String header : headers.isEmpty() ? new String[0] : headers.split(",")) {
            String[] pair = header.split(":", -1);
            record.headers().add(new String(bytes(pair[0]), StandardCharsets.UTF_8), bytes(pair[1]));
        }
        return record;
    }

    private void transaction(Map<String, String> fields) {
        try (KafkaProducer<byte[], byte[]> producer =
                new KafkaProducer<>(properties(fields), new ByteArraySerializer(), new ByteArraySerializer())) {
            producer.initTransactions();
            producer.beginTransaction();
            producer.send(new ProducerRecord<>(fields.get("topic"), 0, null, "in a transaction".getBytes()));
            producer.commitTransaction();
        }
    }

    private void consume(Map<String, String> fields) {
        TopicPartition partition = partition(fields);
        int wanted = Integer.parseInt(fields.get("count"));
        long end = System.nanoTime() + (long) (Double.parseDouble(fields.get("timeout")) * 1e9);
        try (KafkaConsumer<byte[], byte[]> consumer =
                new KafkaConsumer<>(properties(fields), new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.assign(List.of(partition));
            switch (fields.get("start")) {
                case "earliest" -> consumer.seekToBeginning(List.of(partition));
                case "latest" -> consumer.seekToEnd(List.of(partition));
                default -> consumer.seek(partition, Long.parseLong(fields.get("start")));
            }
            for (int count = 0; count < wanted && System.nanoTime() < end; ) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                    if (count++ < wanted) {
                        print(record);
                    }
                }
            }
        }
    }

    /** A member of a group until {@code count} records have come or the time is over; commits when it ends. */
    private void subscribe(Map<String, String> fields) {
        int wanted = Integer.parseInt(fields.get("count"));
        long end = System.nanoTime() + (long) (Double.parseDouble(fields.get("timeout")) * 1e9);
        Properties properties = properties(fields);
        properties.putIfAbsent("enable.auto.commit", "false");
        properties.putIfAbsent("auto.offset.reset", "earliest");
        try (KafkaConsumer<byte[], byte[]> consumer =
                new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(List.of(fields.get("topic")));
            Map<TopicPartition, OffsetAndMetadata> next = new HashMap<>();
            for (int count = 0; count < wanted && System.nanoTime() < end; ) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                    if (count++ < wanted) {
                        print(record);
                        next.put(
                                new TopicPartition(record.topic(), record.partition()),
                                new OffsetAndMetadata(record.offset() + 1, record.leaderEpoch(), ""));
                    }
                }
            }
            consumer.commitSync(next);
        }
    }

    private void share(Map<String, String> fields) {
        long end = System.nanoTime() + (long) (Double.parseDouble(fields.get("timeout")) * 1e9);
        try (KafkaShareConsumer<byte[], byte[]> consumer =
                new KafkaShareConsumer<>(properties(fields), new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(List.of(fields.get("topic")));
            while (System.nanoTime() < end) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                    print(record);
                }
            }
        }
    }

    private void print(ConsumerRecord<byte[], byte[]> record) {
        StringBuilder headers = new StringBuilder();
        for (Header header : record.headers()) {
            headers.append(headers.length() == 0 ? "" : ",")
                    .append(base64(header.key().getBytes(StandardCharsets.UTF_8)))
                    .append(':')
                    .append(base64(header.value()));
        }
        row(record.partition(), record.offset(), record.timestamp(), record.timestampType(), base64(record.key()),
                base64(record.value()), headers);
    }

    // ------------------------------------------------------------------------------------------- offsets

    private void offsets(Map<String, String> fields) {
        TopicPartition partition = partition(fields);
        try (KafkaConsumer<byte[], byte[]> consumer =
                new KafkaConsumer<>(properties(fields), new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            row(consumer.beginningOffsets(List.of(partition)).get(partition),
                    consumer.endOffsets(List.of(partition)).get(partition));
        }
    }

    private void time(Map<String, String> fields) {
        TopicPartition partition = partition(fields);
        try (KafkaConsumer<byte[], byte[]> consumer =
                new KafkaConsumer<>(properties(fields), new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            var found = consumer.offsetsForTimes(Map.of(partition, Long.valueOf(fields.get("timestamp")))).get(partition);
            row(found == null ? "-" : found.offset());
        }
    }

    /** Every special timestamp of ListOffsets that the client's admin knows. */
    private void specials(Map<String, String> fields) throws Exception {
        TopicPartition partition = partition(fields);
        Map<String, OffsetSpec> specs = Map.of(
                "earliest", OffsetSpec.earliest(),
                "latest", OffsetSpec.latest(),
                "max-timestamp", OffsetSpec.maxTimestamp(),
                "earliest-local", OffsetSpec.earliestLocal(),
                "latest-tiered", OffsetSpec.latestTiered());
        for (var spec : specs.entrySet()) {
            ListOffsetsResult.ListOffsetsResultInfo info =
                    get(admin().listOffsets(Map.of(partition, spec.getValue())).partitionResult(partition));
            row(spec.getKey(), info.offset(), info.timestamp());
        }
    }

    private void commit(Map<String, String> fields) {
        TopicPartition partition = partition(fields);
        try (KafkaConsumer<byte[], byte[]> consumer =
                new KafkaConsumer<>(properties(fields), new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.assign(List.of(partition));
            consumer.commitSync(Map.of(partition, new OffsetAndMetadata(Long.parseLong(fields.get("offset")),
                    Optional.empty(), fields.getOrDefault("metadata", ""))));
        }
    }

    // --------------------------------------------------------------------------------------------- admin

    private void administer(String verb, Map<String, String> fields) throws Exception {
        String topic = fields.get("topic");
        String group = fields.get("group");
        ConfigResource resource = topic == null ? null : new ConfigResource(ConfigResource.Type.TOPIC, topic);
        switch (verb) {
            case "create" -> {
                NewTopic created = new NewTopic(topic, Integer.parseInt(fields.get("partitions")), (short) 1);
                get(admin().createTopics(List.of(created.configs(confs(fields)))).all());
            }
            case "delete-records" -> {
                var before = RecordsToDelete.beforeOffset(Long.parseLong(fields.get("offset")));
                row(get(admin().deleteRecords(Map.of(partition(fields), before)).lowWatermarks()
                        .get(partition(fields))).lowWatermark());
            }
            case "log-dirs" -> {
                int broker = get(admin().describeCluster().nodes()).iterator().next().id();
                for (var folder : get(admin().describeLogDirs(List.of(broker)).allDescriptions()).get(broker).entrySet()) {
                    var found = folder.getValue();
                    row("folder", folder.getKey(),
                            found.error() == null ? "-" : found.error().getClass().getSimpleName(),
                            found.totalBytes().orElse(-1), found.usableBytes().orElse(-1));
                    for (var one : found.replicaInfos().entrySet()) {
                        row("replica", folder.getKey(), one.getKey().topic(), one.getKey().partition(),
                                one.getValue().size(), one.getValue().offsetLag(), one.getValue().isFuture());
                    }
                }
            }
            case "move" -> {
                int broker = get(admin().describeCluster().nodes()).iterator().next().id();
                var replica = new TopicPartitionReplica(topic, partition(fields).partition(), broker);
                get(admin().alterReplicaLogDirs(Map.of(replica, fields.get("folder"))).all());
            }
            case "delete" -> get(admin().deleteTopics(List.of(topic)).all());
            case "topics" -> {
                for (String name : get(admin().listTopics().names())) {
                    row(name);
                }
            }
            case "partitions" -> {
                var description = get(admin().describeTopics(List.of(topic)).allTopicNames()).get(topic);
                row(description.partitions().size(), description.topicId());
            }
            case "grow" -> {
                int total = Integer.parseInt(fields.get("partitions"));
                get(admin().createPartitions(Map.of(topic, NewPartitions.increaseTo(total))).all());
            }
            case "configs" -> {
                for (ConfigEntry entry : get(admin().describeConfigs(List.of(resource)).all()).get(resource).entries()) {
                    row(entry.name(), encoded("" + entry.value()), entry.source());
                }
            }
            case "configure" -> {
                List<AlterConfigOp> changes = new ArrayList<>();
                confs(fields).forEach((name, value) -> changes.add(
                        new AlterConfigOp(new ConfigEntry(name, value), AlterConfigOp.OpType.SET)));
                if (fields.containsKey("unset")) {
                    changes.add(new AlterConfigOp(
                            new ConfigEntry(fields.get("unset"), ""), AlterConfigOp.OpType.DELETE));
                }
                get(admin().incrementalAlterConfigs(Map.of(resource, changes)).all());
            }
            case "resources" -> {
                for (ConfigResource one : get(admin().listConfigResources(Set.of(ConfigResource.Type.TOPIC),
                        new org.apache.kafka.clients.admin.ListConfigResourcesOptions()).all())) {
                    row(one.name());
                }
            }
            case "cluster" -> {
                var cluster = admin().describeCluster();
                row(get(cluster.clusterId()), get(cluster.nodes()).size(), get(cluster.controller()).id());
            }
            case "groups" -> {
                for (var one : get(admin().listGroups().all())) {
                    row(one.groupId(), one.groupState().map(Object::toString).orElse("-"));
                }
            }
            case "group" -> {
                var one = get(admin().describeClassicGroups(List.of(group)).all()).get(group);
                row(one.state(), one.members().size());
            }
            case "delete-group" -> get(admin().deleteConsumerGroups(List.of(group)).all());
            case "remove-member" -> get(admin().removeMembersFromConsumerGroup(group,
                    new RemoveMembersFromConsumerGroupOptions(List.of(new MemberToRemove(fields.get("instance"))))).all());
            case "delete-offsets" -> get(admin().deleteConsumerGroupOffsets(group, Set.of(partition(fields))).all());
            case "committed" -> {
                var all = get(admin().listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata());
                OffsetAndMetadata found = all.get(partition(fields));
                row(found == null ? "-" : found.offset(), found == null ? "" : encoded(found.metadata()));
            }
            default -> throw new IllegalArgumentException("no verb " + verb);
        }
    }

    private static <T> T get(org.apache.kafka.common.KafkaFuture<T> future) throws Exception {
        return future.get(30, TimeUnit.SECONDS);
    }

    private Admin admin() {
        if (admin == null) {
            admin = Admin.create(properties(Map.of()));
        }
        return admin;
    }

    // ------------------------------------------------------------------------------------ member of a group

    private static void member(String[] arguments) {
        Map<String, String> fields = new HashMap<>();
        for (int i = 4; i < arguments.length; i++) {
            int at = arguments[i].indexOf('=');
            fields.put("conf." + arguments[i].substring(0, at), arguments[i].substring(at + 1));
        }
        Properties properties = new OttlaClient(arguments[1]).properties(fields);
        properties.put("group.id", arguments[2]);
        properties.put("enable.auto.commit", "false");
        properties.put("auto.offset.reset", "earliest");
        KafkaConsumer<byte[], byte[]> consumer =
                new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer());
        Thread main = Thread.currentThread();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            consumer.wakeup();
            try {
                main.join();
            } catch (InterruptedException interrupted) {
                Thread.currentThread().interrupt();
            }
        }));
        try {
            consumer.subscribe(List.of(arguments[3]), new ConsumerRebalanceListener() {
                @Override
                public void onPartitionsAssigned(Collection<TopicPartition> ignored) {
                    report(consumer.assignment());
                }

                @Override
                public void onPartitionsRevoked(Collection<TopicPartition> revoked) {
                    Set<TopicPartition> left = new HashSet<>(consumer.assignment());
                    left.removeAll(revoked);
                    report(left);
                }
            });
            while (true) {
                ConsumerRecords<byte[], byte[]> records = consumer.poll(Duration.ofMillis(200));
                Map<TopicPartition, OffsetAndMetadata> next = new HashMap<>();
                for (ConsumerRecord<byte[], byte[]> record : records) {
                    OUT.println("got " + System.nanoTime() + " " + record.partition() + " " + record.offset() + " "
                            + new String(record.value(), StandardCharsets.UTF_8));
                    next.put(
                            new TopicPartition(record.topic(), record.partition()),
                            new OffsetAndMetadata(record.offset() + 1));
                }
                if (next.isEmpty()) {
                    continue;
                }
                try {
                    consumer.commitSync(next);
                    next.forEach((partition, offset) -> OUT.println("committed " + System.nanoTime() + " "
                            + partition.partition() + " " + offset.offset()));
                } catch (org.apache.kafka.clients.consumer.CommitFailedException
                        | org.apache.kafka.common.errors.RebalanceInProgressException refused) {
                    OUT.println("refused " + System.nanoTime() + " " + refused.getClass().getSimpleName());
                }
            }
        } catch (WakeupException asked) {
            consumer.close();
            OUT.println("end " + System.nanoTime());
        }
    }

    private static void report(Collection<TopicPartition> assignment) {
        StringBuilder text = new StringBuilder();
        assignment.stream().map(TopicPartition::partition).sorted()
                .forEach(one -> text.append(text.length() == 0 ? "" : ",").append(one));
        OUT.println("assigned " + System.nanoTime() + " " + text);
    }

    // ------------------------------------------------------------------------------------------- helpers

    /** The fields whose names begin with {@code conf.}, as a client's configuration. */
    private Properties properties(Map<String, String> fields) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        properties.put("default.api.timeout.ms", "30000");
        confs(fields).forEach(properties::put);
        return properties;
    }

    private static Map<String, String> confs(Map<String, String> fields) {
        Map<String, String> found = new HashMap<>();
        fields.forEach((name, value) -> {
            if (name.startsWith("conf.")) {
                found.put(name.substring(5), value);
            }
        });
        return found;
    }

    private static TopicPartition partition(Map<String, String> fields) {
        return new TopicPartition(fields.get("topic"), Integer.parseInt(fields.getOrDefault("partition", "0")));
    }

    private static void row(Object... fields) {
        StringBuilder line = new StringBuilder("row");
        for (Object field : fields) {
            line.append('\t').append(field);
        }
        OUT.println(line);
    }

    private static byte[] bytes(String text) {
        return text == null || text.equals("-") ? null : Base64.getDecoder().decode(text);
    }

    private static String base64(byte[] bytes) {
        return bytes == null ? "-" : Base64.getEncoder().encodeToString(bytes);
    }

    private static String encoded(String text) {
        return URLEncoder.encode(text, StandardCharsets.UTF_8);
    }

    private static String decoded(String text) {
        return URLDecoder.decode(text, StandardCharsets.UTF_8);
    }
}
