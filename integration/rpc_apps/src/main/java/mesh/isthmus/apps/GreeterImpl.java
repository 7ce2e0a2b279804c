package mesh.isthmus.apps;

import java.util.concurrent.atomic.AtomicInteger;

/** Answers with its name. */
public final class GreeterImpl implements Greeter {
    private final String name;
    private final AtomicInteger told = new AtomicInteger();

    GreeterImpl(String name) {
        this.name = name;
    }

    @Override
    public String greet(String text) {
        return name + " " + text;
    }

    @Override
    public String slow(long milliseconds) {
        try {
            Thread.sleep(milliseconds);
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        }
        return name;
    }

    @Override
    public String fail(String text) {
        throw new IllegalStateException(text);
    }

    @Override
    public void tell(String text) {
        told.incrementAndGet();
    }

    @Override
    public int told() {
        return told.get();
    }
}
