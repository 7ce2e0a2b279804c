package mesh.isthmus.apps;

/** What both kinds of provider serve. */
public interface Greeter {
    /** The provider's name and what it was told. */
    String greet(String text);

    /** The same after that many milliseconds. */
    String slow(long milliseconds);

    /** Fails with an exception of the application. */
    String fail(String text);

    /** Nobody waits for this. */
    void tell(String text);

    /** How often {@link #tell} was called. */
    int told();
}
