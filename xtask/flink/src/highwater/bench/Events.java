package highwater.bench;

import java.util.SplittableRandom;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.data.TimestampData;

/**
 * The events of one generator of Nexmark, the same as those of the crate {@code highwater-nexmark}, event by event.
 *
 * <p>Its random numbers are those of {@link SplittableRandom}, one draw each, in an order that is part of the stream.
 */
final class Events implements PartSource.Part<RowData> {
    private static final long BASE_TIME_MS = 1_436_918_400_000L;
    private static final long SEED = 3;
    private static final long US_PER_EVENT = 100;
    private static final int CYCLE = 50;
    private static final int AUCTIONS_PER_CYCLE = 3;
    private static final long FIRST_PERSON = 1000;
    private static final long FIRST_AUCTION = 1000;
    private static final long FIRST_CATEGORY = 10;
    private static final int CATEGORIES = 5;
    private static final long ACTIVE_PEOPLE = 1000;
    private static final long AUCTIONS_IN_FLIGHT = 100;
    private static final long ID_LEAD = 10;
    private static final long HOT_BATCH = 100;

    private static final String[] FIRST_NAMES = {
        "Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter"
    };
    private static final String[] LAST_NAMES = {
        "Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris"
    };
    private static final String[] CITIES = {
        "Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland", "Bend", "Redmond", "Seattle", "Kent", "Cheyenne"
    };
    private static final String[] STATES = {"AZ", "CA", "ID", "OR", "WA", "WY"};

    private final long before;
    private final long events;
    private final long usPerEvent;
    private final SplittableRandom random;
    private long emitted;

    /** The part of generator {@code index} of {@code generators} in {@code all} events. */
    Events(long all, int index, int generators) {
        long share = all / generators;
        before = 1 + share * index;
        events = index + 1 == generators ? all - share * index : share;
        usPerEvent = US_PER_EVENT * generators;
        random = new SplittableRandom(SEED + index);
    }

    @Override
    public RowData next() {
        if (emitted == events) {
            return null;
        }
        emitted++;
        long id = before + emitted;
        long time = timeOf(emitted);
        long place = id % CYCLE;
        if (place == 0) {
            return GenericRowData.of(0, person(id, time), null, null);
        }
        if (place <= AUCTIONS_PER_CYCLE) {
            return GenericRowData.of(1, null, auction(id, time), null);
        }
        return GenericRowData.of(2, null, null, bid(id, time));
    }

    private long timeOf(long number) {
        return BASE_TIME_MS + number * usPerEvent / 1000;
    }

    private RowData person(long id, long time) {
        String name = oneOf(FIRST_NAMES) + " " + oneOf(LAST_NAMES);
        String email = Texts.string(random, 7, ' ') + "@" + Texts.string(random, 5, ' ') + ".com";
        String card = group() + " " + group() + " " + group() + " " + group();
        String city = oneOf(CITIES);
        String state = oneOf(STATES);
        int bytes = 8 + name.length() + email.length() + card.length() + city.length() + state.length();
        return GenericRowData.of(
                FIRST_PERSON + lastPerson(id),
                text(name),
                text(email),
                text(card),
                text(city),
                text(state),
                TimestampData.fromEpochMillis(time),
                text(Texts.extra(random, bytes, 200)));
    }

    private String group() {
        String digits = Integer.toString(random.nextInt(10_000));
        return "0000".substring(digits.length()) + digits;
    }

    private RowData auction(long id, long time) {
        // As long as it takes until so many auctions are in flight.
        long ahead = AUCTIONS_IN_FLIGHT * CYCLE / AUCTIONS_PER_CYCLE;
        long horizon = timeOf(emitted + ahead) - time;
        long seller = random.nextInt(4) > 0 ? hot(lastPerson(id)) : anyPerson(id);
        long category = FIRST_CATEGORY + random.nextInt(CATEGORIES);
        long initialBid = price();
        long expires = time + 1 + random.nextInt((int) Math.max(2 * horizon, 1));
        String name = Texts.string(random, 20, ' ');
        String description = Texts.string(random, 100, ' ');
        long reserve = initialBid + price();
        int bytes = 48 + name.length() + description.length();
        return GenericRowData.of(
                FIRST_AUCTION + lastAuction(id),
                text(name),
                text(description),
                initialBid,
                reserve,
                TimestampData.fromEpochMillis(time),
                TimestampData.fromEpochMillis(expires),
                FIRST_PERSON + seller,
                category,
                text(Texts.extra(random, bytes, 500)));
    }

    private RowData bid(long id, long time) {
        long newest = lastAuction(id);
        long auction;
        if (random.nextInt(2) > 0) {
            auction = hot(newest);
        } else {
            long oldest = Math.max(newest - AUCTIONS_IN_FLIGHT, 0);
            auction = oldest + random.nextInt((int) (newest - oldest + 1 + ID_LEAD));
        }
        long bidder = random.nextInt(4) > 0 ? hot(lastPerson(id)) + 1 : anyPerson(id);
        long price = price();
        Texts.Channel channel = random.nextInt(2) > 0
                ? Texts.HOT_CHANNELS[random.nextInt(Texts.HOT_CHANNELS.length)]
                : Texts.CHANNELS[random.nextInt(Texts.CHANNELS.length)];
        return GenericRowData.of(
                FIRST_AUCTION + auction,
                // The reference adds the first id twice.
                2 * FIRST_PERSON + bidder,
                price,
                text(channel.name),
                text(channel.url),
                TimestampData.fromEpochMillis(time),
                text(Texts.extra(random, 32, 100)));
    }

    private long price() {
        return (long) Math.floor(Math.pow(10, random.nextDouble() * 6.0) * 100.0 + 0.5);
    }

    private long anyPerson(long id) {
        long people = lastPerson(id) + 1;
        long active = Math.min(people, ACTIVE_PEOPLE);
        return people - active + random.nextInt((int) (active + ID_LEAD));
    }

    private String oneOf(String[] choices) {
        return choices[random.nextInt(choices.length)];
    }

    private static long lastPerson(long id) {
        return id / CYCLE;
    }

    private static long lastAuction(long id) {
        return id / CYCLE * AUCTIONS_PER_CYCLE + Math.min(id % CYCLE, AUCTIONS_PER_CYCLE) - 1;
    }

    private static long hot(long newest) {
        return newest / HOT_BATCH * HOT_BATCH;
    }

    private static StringData text(String text) {
        return StringData.fromString(text);
    }
}
