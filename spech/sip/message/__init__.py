"""SIP messages: text to typed, frozen values and back."""
